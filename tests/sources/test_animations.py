"""Files of several images: every frame, for as long as the file says, whatever its name."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL.TiffImagePlugin import AppendingTiffWriter

from streamcam.errors import MediaError
from streamcam.sources.image_reader import ImageReader
from streamcam.sources.source_table import open_file_source
from streamcam.sources.video_reader import VideoReader
from streamcam.types import Frame
from tests.support.media import RATE, noise, plain, read, write

COLOURS = [(220, 30, 30), (30, 200, 30), (40, 40, 220), (220, 210, 40)]
FORMATS = ["GIF", "PNG", "WEBP", "AVIF"]


def save(path: Path, images: Sequence[Any], format_name: str, **options: Any) -> Path:
    first, *rest = map(Pillow.fromarray, images)
    if format_name == "WEBP":
        options["lossless"] = True
    first.save(path, format_name, save_all=True, append_images=rest, **options)
    return path


def colours(frames: Sequence[Frame]) -> np.ndarray:
    return np.array([frame.image[9, 9] for frame in frames], int)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.jpg", "a.mp4", "a"])
@pytest.mark.parametrize("format_name", FORMATS)
def test_an_animation_is_read_whole_under_any_name(
    tmp_path: Path, format_name: str, name: str
) -> None:
    path = save(tmp_path / name, list(map(plain, COLOURS)), format_name, duration=100)
    source = open_file_source(path, RATE)
    assert (source.length, source.rate) == (4, 10)
    assert np.abs(colours(list(source)) - COLOURS).max() <= 3


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_frame_is_shown_as_long_as_the_file_says_the_last_one_too(
    tmp_path: Path, format_name: str
) -> None:
    durations = [500, 1000, 40, 1500]
    path = save(tmp_path / "a", list(map(plain, COLOURS)), format_name, duration=durations)
    frames = read(path)
    assert [frame.captured_at for frame in frames] == pytest.approx([0, 0.5, 1.5, 1.54])
    assert [frame.duration for frame in frames] == pytest.approx([0.5, 1.0, 0.04, 1.5])


@pytest.mark.parametrize("format_name", FORMATS)
def test_frames_to_be_shown_for_no_time_are_shown_for_a_tenth_of_a_second(
    tmp_path: Path, format_name: str
) -> None:
    durations = [0, 10, 20, 0]
    path = save(tmp_path / "a", list(map(plain, COLOURS)), format_name, duration=durations)
    assert [frame.duration for frame in read(path)] == pytest.approx([0.1, 0.1, 0.02, 0.1])


def test_the_pages_of_a_tiff_are_frames_at_the_given_rate(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", list(map(plain, COLOURS)), "TIFF")
    frames = read(path)
    assert colours(frames).tolist() == [list(colour) for colour in COLOURS]
    assert [frame.captured_at for frame in frames] == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30])


def test_thumbnails_and_masks_in_a_tiff_are_no_pages(tmp_path: Path) -> None:
    with AppendingTiffWriter(str(tmp_path / "a.tif")) as file:
        for colour, kind in zip(COLOURS, (0, 1, 2, 4), strict=True):
            image = Pillow.fromarray(plain(colour))
            image.save(file, "TIFF", tiffinfo={254: kind})
            file.newFrame()
    assert colours(read(tmp_path / "a.tif")).tolist() == [list(COLOURS[0]), list(COLOURS[2])]


def test_previews_in_a_photograph_are_no_frames(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", list(map(plain, COLOURS)), "MPO")
    (frame,) = read(tmp_path / "a.jpg")
    assert np.abs(frame.image[9, 9].astype(int) - COLOURS[0]).max() <= 3


def test_the_image_for_programs_without_animations_is_left_out(tmp_path: Path) -> None:
    images = list(map(plain, COLOURS))
    path = save(tmp_path / "a.png", images, "PNG", default_image=True, duration=100)
    assert colours(read(path)).tolist() == [list(colour) for colour in COLOURS[1:]]


@pytest.mark.parametrize("name", ["a.mjpeg", "a.take"])
def test_jpegs_one_after_another_stay_a_video(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        for frame in noise(5):
            Pillow.fromarray(frame.image).save(file, "JPEG")
    assert len(read(tmp_path / name)) == 5


def test_a_video_may_be_named_as_an_image(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        path = write(tmp_path / f"a{suffix}", noise(3)).rename(tmp_path / "a.gif")
        with open_file_source(path, RATE) as source:
            assert isinstance(source, VideoReader)
            assert len(list(source)) == 3


def test_what_no_frame_covers_is_black_in_every_frame(tmp_path: Path) -> None:
    images = []
    for left in (0, 20, 40):
        image = Pillow.new("RGBA", (60, 30), (255, 0, 255, 0))
        image.paste((200, 210, 220, 255), (left, 0, left + 20, 30))
        images.append(image)
    for format_name in ("GIF", "PNG", "WEBP"):
        path = save(tmp_path / "a", list(map(np.asarray, images)), format_name, disposal=2)
        for number, frame in enumerate(read(path)):
            columns = frame.image[15, 10::20]
            expected = [[200, 210, 220] if at == number else [0, 0, 0] for at in range(3)]
            assert columns.tolist() == expected, format_name


def changing(count: int = 8) -> list[np.ndarray]:
    """Return noise of which a few rows change from image to image."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    images = []
    for number in range(count):
        image = image.copy()
        image[5 * number : 5 * number + 6] = rng.integers(0, 256, (6, 64, 3))
        images.append(image)
    return images


@pytest.mark.parametrize("format_name", ["GIF", "PNG"])
def test_a_damaged_frame_is_skipped_and_counted_and_the_others_keep_their_times(
    tmp_path: Path, format_name: str
) -> None:
    path = save(tmp_path / "a", changing(), format_name, duration=100)
    whole = [round(frame.captured_at, 3) for frame in read(path)]
    content = bytearray(path.read_bytes())
    middle = len(content) * 6 // 10
    content[middle : middle + 60] = bytes(60)
    path.write_bytes(content)
    lines: list[str] = []
    times = [round(f.captured_at, 3) for f in ImageReader(path, RATE, lines.append)]
    assert len(times) == 7
    assert set(times) < set(whole)
    assert times[-1] == whole[-1]
    assert lines == [f"{path}: skipped 1 damaged frames of 8"]


@pytest.mark.parametrize("format_name", ["GIF", "PNG"])
def test_an_animation_that_is_cut_off_is_read_as_far_as_it_goes(
    tmp_path: Path, format_name: str
) -> None:
    path = save(tmp_path / "a", changing(), format_name, duration=100)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    assert 2 <= len(list(ImageReader(path, RATE, [].append))) <= 5


def test_a_file_that_claims_billions_of_frames_ends_after_those_it_has(tmp_path: Path) -> None:
    path = save(tmp_path / "a", list(map(plain, COLOURS)), "PNG", duration=100)
    content = path.read_bytes()
    claimed = b"acTL" + (1 << 31).to_bytes(4, "big") + bytes(4)
    at = content.index(b"acTL")
    checksum = zlib.crc32(claimed).to_bytes(4, "big")
    path.write_bytes(content[:at] + claimed + checksum + content[at + 16 :])
    lines: list[str] = []
    assert len(list(ImageReader(path, RATE, lines.append))) == 4
    assert "skipped 2147483644 damaged frames" in lines[0]


@pytest.mark.parametrize("format_name", ["WEBP", "AVIF"])
def test_an_animation_whose_table_is_cut_off_is_refused(tmp_path: Path, format_name: str) -> None:
    path = save(tmp_path / "a", changing(), format_name, duration=100)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(MediaError, match="cannot read the image"):
        read(path)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "webm"])
def test_a_video_made_of_an_animation_lasts_as_long(tmp_path: Path, suffix: str) -> None:
    import av

    path = save(
        tmp_path / "a.gif", list(map(plain, COLOURS)), "GIF", duration=[500, 1000, 200, 1500]
    )
    with av.open(str(write(tmp_path / f"b.{suffix}", read(path)))) as container:
        assert container.duration == pytest.approx(3.2e6, abs=2000)
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([0, 0.5, 1.5, 1.7], abs=0.002)
