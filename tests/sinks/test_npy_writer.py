from pathlib import Path

import numpy as np
import pytest

from streamcam.errors import MediaError
from streamcam.sinks.sink_table import open_file_sink
from tests.support.media import RATE, RED, noise, numbered, plain, write


@pytest.mark.parametrize("count", [1, 29, 30, 31, 100])
def test_an_array_holds_the_frames_exactly(tmp_path: Path, count: int) -> None:
    frames = noise(count)
    again = np.load(write(tmp_path / "a.npy", frames))
    assert again.dtype == np.uint8
    assert (again == np.stack([frame.image for frame in frames])).all()


def test_the_same_frames_make_the_same_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "a.npy", noise(3)).read_bytes()
    assert write(tmp_path / "b.npy", noise(3)).read_bytes() == first


def test_a_file_is_readable_while_it_grows(tmp_path: Path) -> None:
    with open_file_sink(tmp_path / "a.npy", RATE) as sink:
        for frame in noise(70):
            sink.send(frame)
        assert len(np.load(tmp_path / "a.partial.npy")) == 60


def test_a_frame_of_another_size_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    images = [plain(RED), plain(RED, width=32)]
    with pytest.raises(MediaError, match=r"frame 1 is 32x48, not 64x48"):
        write(tmp_path / "a.npy", numbered(images))
    assert not list(tmp_path.iterdir())
