import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from streamcam.errors import MediaError
from streamcam.sources import video_decoder
from streamcam.sources.video_reader import VideoReader
from streamcam.types import Frame, Image
from tests.support.media import (
    BLUE,
    GREEN,
    RATE,
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


ONE = 1 << 16
MATRICES: dict[str, tuple[tuple[int, int, int, int], Callable[[Image], Image]]] = {
    "none": ((1, 0, 0, 1), lambda image: image),
    "left to right": ((-1, 0, 0, 1), np.fliplr),
    "top to bottom": ((1, 0, 0, -1), np.flipud),
    "half turn": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "anticlockwise": ((0, -1, 1, 0), np.rot90),
    "transposed": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    "transversed": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_frame_is_turned_and_flipped_as_the_file_says(tmp_path: Path, name: str) -> None:
    (a, b, c, d), expected = MATRICES[name]
    image = plain((0, 0, 0), width=64, height=32)
    image[:16, :32], image[:16, 32:], image[16:, :32] = RED, GREEN, BLUE
    matrix = (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    (frame,) = read(turned(encode(tmp_path / "a.mp4", [image]), matrix))
    wanted = expected(image)
    assert frame.image.shape == wanted.shape
    assert np.abs(frame.image.astype(int) - wanted).mean() < 12
    assert frame.image.flags.c_contiguous


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
@pytest.mark.parametrize(
    ("aspect", "shape"),
    [("16/11", (48, 93)), ("2/1", (48, 128)), ("1/2", (96, 64)), ("1/1", (48, 64))],
)
def test_pixels_become_square(
    tmp_path: Path, suffix: str, aspect: str, shape: tuple[int, int]
) -> None:
    options = {"x264-params": f"sar={aspect}"}
    path = encode(tmp_path / f"a{suffix}", [plain(RED)], codec_options=options)
    (frame,) = read(path)
    assert frame.image.shape == (*shape, 3)
    assert np.abs(frame.image.astype(int) - RED).max() < 12


def test_a_wide_pixel_and_a_quarter_turn_go_together(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", [plain(RED)], codec_options={"x264-params": "sar=2/1"})
    content = path.read_bytes()
    width = struct.pack(">I", 128 << 16)
    assert width in content
    (frame,) = read(turned(path))
    assert frame.image.shape == (128, 48, 3)


def test_pixels_may_change_their_shape_on_the_way(tmp_path: Path) -> None:
    for name, aspect in (("a.ts", "2/1"), ("b.ts", "1/1")):
        options = {"x264-params": f"sar={aspect}"}
        encode(tmp_path / name, [plain(RED)] * 8, codec_options=options)
    joined = tmp_path / "ab.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    widths = [frame.image.shape[1] for frame in read(joined)]
    assert widths == [128] * 8 + [64] * 8


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


def damaged(path: Path, frame: int) -> Path:
    """Write 30 frames that do not need each other, and destroy one of them."""
    codec, pix_fmt, first, last = (
        ("png", "rgb24", b"\x89PNG", b"IEND")
        if path.suffix == ".mov"
        else ("mjpeg", "yuvj420p", b"\xff\xd8\xff", b"\xff\xd9")
    )
    encode(path, [f.image for f in noise(30)], codec=codec, pix_fmt=pix_fmt)
    content = bytearray(path.read_bytes())
    begin = -1
    for _ in range(frame + 1):
        begin = content.index(first, begin + 1)
    end = content.index(last, begin)
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mov"])
@pytest.mark.parametrize("frame", [0, 15, 28, 29])
def test_a_damaged_frame_is_skipped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, frame: int
) -> None:
    frames = read(damaged(tmp_path / f"a{suffix}", frame))
    assert [f.index for f in frames] == list(range(29))
    assert frames[-1].captured_at >= 28 / 30 - 0.001
    assert f"a{suffix}: damaged frames: 1; read: 29" in caplog.text


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts", ".webm"])
def test_frames_that_refer_to_damaged_ones_do_not_end_a_video(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx" if suffix == ".webm" else "libx264"
    path = encode(
        tmp_path / f"a{suffix}",
        [f.image for f in noise(60)],
        codec=codec,
        codec_options={"g": "10"},
    )
    content = bytearray(path.read_bytes())
    for share in (0.3, 0.6):
        at = int(len(content) * share)
        content[at : at + 2000] = bytes(byte ^ 0x5A for byte in content[at : at + 2000])
    path.write_bytes(content)
    frames = read(path)
    assert len(frames) > 30
    assert frames[-1].captured_at > 1.8


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".ts"])
def test_a_truncated_video_is_read_as_far_as_it_goes(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"a{suffix}", [f.image for f in noise(40)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    assert 15 < len(read(path)) < 40


def test_a_video_of_which_nothing_can_be_decoded_is_an_error_with_the_reason(
    tmp_path: Path,
) -> None:
    path = encode(tmp_path / "a.mov", [plain(RED)] * 3, codec="png", pix_fmt="rgb24")
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", b"\0PNG"))
    with pytest.raises(MediaError, match=r"a\.mov holds no frames: Invalid data"):
        read(path)


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", [plain(RED)])
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_FUTURE/XX/YYY"))
    with pytest.raises(MediaError, match=r"a\.mkv has a video track of a codec that FFmpeg does"):
        VideoReader(path)


def test_frames_that_would_take_all_memory_are_refused_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_decoder, "MAX_PIXELS", 64 * 48 - 1)
    path = encode(tmp_path / "a.mp4", [plain(RED)])
    with pytest.raises(MediaError, match=r"a\.mp4 has frames of 64x48; 8192x8192 is the largest"):
        VideoReader(path)


def test_joined_parts_play_one_after_the_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = encode(tmp_path / "a.ts", [f.image for f in noise(30)], codec_options={"bf": "0"})
    path.write_bytes(path.read_bytes() * 2)
    times = [frame.captured_at for frame in read(path)]
    assert not caplog.records
    assert times == pytest.approx([i / 30 for i in range(60)], abs=0.002)


def test_a_long_hold_is_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 6.0, 30.0]
    path = write(tmp_path / "a.mkv", [Frame(plain(RED), i, t) for i, t in enumerate(times)])
    assert [frame.captured_at for frame in read(path)] == pytest.approx(times, abs=0.001)


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


def test_a_title_that_is_not_utf_8_is_no_reason_to_refuse_a_video(tmp_path: Path) -> None:
    path = tmp_path / "latin.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Ganz_sch"
        track = container.add_stream("libx264", rate=RATE)
        track.width = track.height = 64
        container.mux(track.encode(av.VideoFrame.from_ndarray(plain((9, 9, 9)), format="rgb24")))
        container.mux(track.encode(None))
    path.write_bytes(path.read_bytes().replace(b"Ganz_sch", b"Ganz\xf6sch"))
    with VideoReader(path) as video:
        assert len(list(video)) == 1
