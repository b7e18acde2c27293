import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from streamcam.errors import MediaError
from streamcam.sources.video_reader import VideoReader
from streamcam.types import Frame
from tests.support.media import (
    BLUE,
    GREEN,
    RED,
    encode,
    noise,
    numbered,
    plain,
    read,
    sound,
    write,
)

QUARTER_CLOCKWISE = (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)


def turned(path: Path, matrix: tuple[int, ...] = QUARTER_CLOCKWISE) -> Path:
    """Write a rotation into the file's track header."""
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    content = bytearray(path.read_bytes())
    at = content.index(upright, content.index(b"tkhd"))
    content[at : at + len(upright)] = struct.pack(">9i", *matrix)
    path.write_bytes(content)
    return path


def test_every_frame_comes_in_order_at_its_own_time(tmp_path: Path) -> None:
    images = [plain((level, level, level)) for level in range(40, 240, 5)]
    path = encode(tmp_path / "ä b [1] %d.mp4", images)
    source = VideoReader(path)
    assert (source.length, source.rate) == (40, 30)
    with source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(40))
    assert [frame.captured_at for frame in frames] == pytest.approx([i / 30 for i in range(40)])
    levels = [int(frame.image.mean()) for frame in frames]
    assert levels == pytest.approx(list(range(40, 240, 5)), abs=3)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".m4v", ".webm"])
def test_colours_survive_a_round_trip(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", numbered([plain(RED), plain(GREEN), plain(BLUE)]))
    for frame, colour in zip(read(path), (RED, GREEN, BLUE), strict=True):
        assert abs(frame.image.astype(int) - colour).max() <= 8


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_variable_frame_rate_survives_a_round_trip(tmp_path: Path, suffix: str) -> None:
    times = [0.0, 0.1, 0.15, 0.9, 0.95, 2.5]
    frames = [Frame(plain(RED), i, time) for i, time in enumerate(times)]
    again = [frame.captured_at for frame in read(write(tmp_path / f"a{suffix}", frames))]
    assert again == pytest.approx(times, abs=0.001)


def test_time_begins_with_the_first_frame(tmp_path: Path) -> None:
    frames = [Frame(plain(RED), i, 5 + i / 30) for i in range(3)]
    again = [frame.captured_at for frame in read(write(tmp_path / "a.mkv", frames))]
    assert again == pytest.approx([0, 1 / 30, 2 / 30], abs=0.001)


def test_a_frame_is_turned_as_the_file_says(tmp_path: Path) -> None:
    image = plain((0, 0, 0), width=64, height=32)
    image[:, :16] = 255
    (frame,) = read(turned(encode(tmp_path / "a.mp4", [image])))
    # What was on the left is on top after a quarter clockwise.
    assert frame.image.shape == (64, 32, 3)
    assert frame.image[4, 16].min() > 200
    assert frame.image[60, 16].max() < 50
    assert frame.image.flags.c_contiguous


def test_odd_sizes_are_read_whole(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", [plain(RED, width=33, height=17)], codec="ffv1")
    (frame,) = read(path)
    assert frame.image.shape == (17, 33, 3)


def test_a_file_name_with_a_colon_is_not_taken_for_a_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(tmp_path / "a.mp4", [plain(RED)]).rename(tmp_path / "take:1.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read(Path("take:1.mp4"))) == 1


@pytest.mark.parametrize("content", [b"", b"no video at all", bytes(4096)])
def test_a_file_that_is_not_a_video_is_refused_with_what_is_accepted(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"cannot read .*a\.mp4: .*it should be a video, an image"):
        VideoReader(path)


def test_an_mp4_cut_before_its_index_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", [frame.image for frame in noise(10)])
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(MediaError, match=r"cannot read .*a\.mp4"):
        VideoReader(path)


def test_an_audio_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a\.wav has no video track"):
        VideoReader(sound(tmp_path / "a.wav", "pcm_s16le"))


def test_cover_art_is_not_a_video(tmp_path: Path) -> None:
    Pillow.fromarray(plain(RED)).save(tmp_path / "cover.jpg")
    cover = b"\0image/jpeg\0\3\0" + (tmp_path / "cover.jpg").read_bytes()
    frame = b"APIC" + struct.pack(">IH", len(cover), 0) + cover
    sizes = [len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0)]
    path = sound(tmp_path / "a.mp3", "libmp3lame")
    path.write_bytes(b"ID3\3\0\0" + bytes(sizes) + frame + path.read_bytes())
    with pytest.raises(MediaError, match=r"a\.mp3 has no video track"):
        VideoReader(path)


def test_text_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello\n" * 100)
    with pytest.raises(MediaError, match=r"a\.txt has no video track"):
        VideoReader(tmp_path / "a.txt")


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", noise(3))
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moof") - 4])
    with pytest.raises(MediaError, match=r"a\.mp4 holds no frames"):
        read(path)


def test_damage_is_reported_with_the_number_of_readable_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", noise(60))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(byte ^ 0x5A for byte in content[middle : middle + 3000])
    path.write_bytes(content)
    frames: list[Frame] = []
    with VideoReader(path) as source, pytest.raises(MediaError) as caught:
        frames.extend(source)
    assert len(frames) > 20
    assert f"damaged after frame {len(frames) - 1}" in str(caught.value)
    assert f"--frames {len(frames)} takes what comes before" in str(caught.value)


def test_the_rate_survives_a_round_trip(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    path = write(tmp_path / "a.mp4", numbered([plain(RED)] * 30, rate), rate)
    with VideoReader(path) as source:
        assert float(source.rate) == pytest.approx(float(rate), rel=1e-3)
        assert len(list(source)) == 30


def test_frames_are_not_overwritten_by_later_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", noise(8))
    with VideoReader(path) as source:
        frames = [(frame.image, frame.image.copy()) for frame in source]
    assert all(np.array_equal(image, copy) for image, copy in frames)
