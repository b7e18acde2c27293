from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from streamcam.errors import MediaError
from streamcam.sinks.sink_table import open_file_sink
from tests.support.media import RATE, noise, read, write


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
def test_a_lossless_image_holds_the_frame_exactly(tmp_path: Path, suffix: str) -> None:
    (frame,) = noise(1)
    assert (read(write(tmp_path / f"a{suffix}", [frame]))[0].image == frame.image).all()


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_a_lossy_image_looks_like_the_frame(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", noise(1))
    with Pillow.open(path) as file:
        assert file.size == (64, 48)


def test_a_folder_holds_numbered_images(tmp_path: Path) -> None:
    frames = noise(12)
    path = write(tmp_path / "ä b", frames)
    assert sorted(p.name for p in path.iterdir()) == [f"{i:06d}.png" for i in range(12)]
    for frame, again in zip(frames, read(path), strict=True):
        assert np.array_equal(frame.image, again.image)


def test_an_empty_folder_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.b").mkdir()
    assert len(read(write(tmp_path / "a.b", noise(2)))) == 2


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").touch()
    (tmp_path / "b").touch()
    for name in ("a", "b"):
        with pytest.raises(MediaError, match=r"exists and is not an empty folder; choose another"):
            open_file_sink(tmp_path / name, RATE)


def test_the_remains_of_a_crash_are_in_nobodys_way_and_stay(tmp_path: Path) -> None:
    (tmp_path / "a.partial").mkdir()
    (tmp_path / "a.partial" / "000007.png").touch()
    assert len(read(write(tmp_path / "a", noise(2)))) == 2
    assert [p.name for p in (tmp_path / "a.partial").iterdir()] == ["000007.png"]


def test_a_link_to_an_empty_folder_is_no_new_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a").symlink_to("empty")
    (tmp_path / "b").symlink_to("nowhere")
    for name in ("a", "b"):
        with pytest.raises(MediaError, match=r"exists and is not an empty folder; choose another"):
            open_file_sink(tmp_path / name, RATE)


def test_every_image_of_an_unfinished_folder_is_complete(tmp_path: Path) -> None:
    with open_file_sink(tmp_path / "a", RATE) as sink:
        for frame in noise(3):
            sink.send(frame)
            names = [p.name for p in (tmp_path / "a.partial").iterdir()]
            assert len(names) == frame.index + 1
            assert all(name.endswith(".png") for name in names)


def test_one_image_for_many_frames_is_refused_before_rendering(tmp_path: Path) -> None:
    message = r"holds one image, but there are more frames; name a folder \(.*a\), a video or"
    with pytest.raises(MediaError, match=message):
        open_file_sink(tmp_path / "a.png", RATE, length=2)


def test_one_image_for_many_frames_is_refused_when_they_come(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"holds one image, but there are more frames"):
        write(tmp_path / "a.png", noise(2))
    assert not list(tmp_path.iterdir())
