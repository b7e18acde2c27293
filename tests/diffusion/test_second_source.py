"""Second sources of ControlNets: the newest image on air, image by image in a file."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from PIL import Image

from streamcam.diffusion.second_source import NewestImage, open_for_render
from streamcam.errors import MediaError
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sources import source_table
from streamcam.types import Frame

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


class Unplugged:
    """A camera that gives one image each time it is opened, and is then unplugged."""

    def __init__(self) -> None:
        self.opened = 0
        self.replugged = threading.Event()

    def __enter__(self) -> Self:
        self.opened += 1
        if self.opened > 1:
            assert self.replugged.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        yield Frame(np.full((8, 8, 3), self.opened, np.uint8), 0, 0.0)
        raise MediaError("it is unplugged")

    def stop(self) -> None:
        self.replugged.set()


def test_the_last_image_of_an_unplugged_camera_is_held_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera = Unplugged()
    monkeypatch.setitem(source_table.SOURCES, "flaky", lambda *_: camera)
    source = NewestImage("flaky", SETTINGS)
    wait_until(lambda: "has stopped (it is unplugged)" in source.problem)
    assert source.problem.endswith("its last image is held")
    assert levels(source.next_image()) == 1
    camera.replugged.set()
    wait_until(lambda: levels(source.next_image()) > 1)
    source.close()


def levels(image: np.ndarray | None) -> int:
    assert image is not None
    return int(image.max())


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_second_source_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    for opened in (open_for_render, NewestImage):
        with pytest.raises(MediaError, match="no such input"):
            opened(str(tmp_path / "none.mp4"), SETTINGS)
