import os
from fractions import Fraction
from pathlib import Path
from threading import Thread

import pytest

from streamcam.errors import MediaError
from streamcam.sinks.sink_table import open_file_sink
from streamcam.sinks.video_writer import UnbufferedFile
from streamcam.types import Frame
from tests.support.media import RATE, RED, decoded, noise, numbered, plain, read, write

SUFFIXES = [".mkv", ".mp4", ".mov", ".m4v", ".webm"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_frames_make_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    first = write(tmp_path / f"a{suffix}", noise(20)).read_bytes()
    assert write(tmp_path / f"b{suffix}", noise(20)).read_bytes() == first


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [1, 2, 45])
def test_every_frame_is_written(tmp_path: Path, suffix: str, count: int) -> None:
    assert decoded(write(tmp_path / f"a{suffix}", noise(count))) == count


@pytest.mark.parametrize("rate", [Fraction(1000), Fraction(24000, 1001), Fraction(1, 60)])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_fast_and_slow_rates_keep_time(tmp_path: Path, suffix: str, rate: Fraction) -> None:
    frames = numbered([plain(RED)] * 5, rate)
    again = [frame.captured_at for frame in read(write(tmp_path / f"a{suffix}", frames, rate))]
    assert again == pytest.approx([float(i / rate) for i in range(5)], abs=0.001)


@pytest.mark.parametrize(("width", "height"), [(8, 8), (16, 4096)])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_extreme_sizes_can_be_written(tmp_path: Path, suffix: str, width: int, height: int) -> None:
    images = [plain(RED, width=width, height=height)] * 2
    (frame, _) = read(write(tmp_path / f"a{suffix}", numbered(images)))
    assert frame.image.shape == (height, width, 3)


def test_frames_with_the_same_time_are_all_written(tmp_path: Path) -> None:
    frames = [Frame(plain(RED), i, 0.0) for i in range(5)]
    assert decoded(write(tmp_path / "a.mkv", frames)) == 5
    assert decoded(write(tmp_path / "a.mp4", frames)) == 5


def test_odd_sides_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a video needs even sides, got 63x48"):
        write(tmp_path / "a.mp4", numbered([plain(RED, width=63)]))
    assert not list(tmp_path.iterdir())


def test_a_frame_of_another_size_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    images = [plain(RED), plain(RED, width=32)]
    with pytest.raises(MediaError, match=r"frame 1 is 32x48, not 64x48"):
        write(tmp_path / "a.mp4", numbered(images))
    assert not list(tmp_path.iterdir())


def test_a_file_is_readable_while_it_grows(tmp_path: Path) -> None:
    for suffix in (".mkv", ".mp4"):
        path = tmp_path / f"a{suffix}"
        with open_file_sink(path, RATE) as sink:
            for frame in noise(120):
                sink.send(frame)
            assert not path.exists()
            assert decoded(tmp_path / f"a.partial{suffix}") >= 60
        assert decoded(path) == 120


def test_a_write_that_the_system_splits_is_continued(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, True)
    received = bytearray()

    def receive() -> None:
        while part := os.read(read_end, 1000):
            received.extend(part)

    thread = Thread(target=receive)
    thread.start()
    content = bytes(range(256)) * 4096
    with UnbufferedFile(write_end, "wb") as file:
        assert file.write(memoryview(content)) == len(content)
    thread.join()
    os.close(read_end)
    assert received == content


def test_a_repeated_image_is_written_again(tmp_path: Path) -> None:
    images = [plain(RED), plain(RED)[:, ::-1], plain((0, 0, 255))]
    order = [0, 0, 0, 2, 2, 1, 0]
    (first, *rest) = read(write(tmp_path / "a.mkv", numbered(images[i] for i in order)))
    blue = [frame.image[0, 0, 2] > 128 for frame in (first, *rest)]
    assert blue == [i == 2 for i in order]
