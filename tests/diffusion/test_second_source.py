"""Second sources of ControlNets: the newest image on air, image by image in a file."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamcam.diffusion.second_source import NewestImage, open_for_render
from streamcam.errors import MediaError
from streamcam.settings.broadcast_settings import BroadcastSettings

SETTINGS = BroadcastSettings(fps=60, loop=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for level in (10, 20, 30):
        Image.new("RGB", (8, 8), (level,) * 3).save(tmp_path / f"{level}.png")
    return tmp_path


def test_render_takes_an_image_of_a_file_for_each_frame_and_keeps_the_last(folder: Path) -> None:
    source = open_for_render(str(folder), SETTINGS)
    images = [source.next_image() for _ in range(5)]
    assert [int(image.max()) for image in images if image is not None] == [10, 20, 30, 30, 30]


def test_on_air_the_last_image_of_a_source_that_ended_is_held_and_said(folder: Path) -> None:
    source = NewestImage(str(folder), SETTINGS)
    deadline = time.monotonic() + 20
    while "has ended" not in source.problem and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "has ended: its last image is held" in source.problem
    image = source.next_image()
    assert image is not None
    assert np.all(image == 30)
    source.close()


def test_a_second_source_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    for opened in (open_for_render, NewestImage):
        with pytest.raises(MediaError, match="no such input"):
            opened(str(tmp_path / "none.mp4"), SETTINGS)
