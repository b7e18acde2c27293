import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from streamcam.errors import MediaError
from streamcam.sources.image_reader import ImageFolderReader, ImageReader
from streamcam.sources.npy_reader import NpyReader
from streamcam.sources.source_table import open_file_source
from streamcam.sources.video_reader import VideoReader
from tests.support.media import RATE, RED, numbered, plain, write


def test_the_kind_of_source_depends_on_the_file(tmp_path: Path) -> None:
    Pillow.fromarray(plain(RED)).save(tmp_path / "a.PNG", format="png")
    np.save(tmp_path / "a.npy", plain(RED)[None])
    write(tmp_path / "a.mp4", numbered([plain(RED)])).rename(tmp_path / "a.take")
    kinds = {
        ".": ImageFolderReader,
        "a.PNG": ImageReader,
        "a.npy": NpyReader,
        "a.take": VideoReader,
    }
    for name, kind in kinds.items():
        assert isinstance(open_file_source(tmp_path / name, RATE), kind)


@pytest.mark.parametrize("name", ["nothing.mp4", "nowhere/a.png", "a" * 300])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match=r"no such input|File name too long"):
        open_file_source(tmp_path / name, RATE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.mp4", "folder"])
def test_a_file_without_read_permission_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch() if "." in name else path.mkdir()
    path.chmod(0)
    with pytest.raises(MediaError, match=r"cannot read .*ermission denied"):
        open_file_source(path, RATE)
