from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from streamcam.errors import MediaError
from streamcam.sources.image_reader import ImageFolderReader, ImageReader, natural, read
from tests.support.heif import write_grid
from tests.support.media import RATE, plain

COLOURS = [(220, 30, 30), (30, 200, 30), (40, 40, 220), (220, 210, 40)]


def save(path: Path, level: int = 0) -> None:
    Pillow.fromarray(plain((level, level, level))).save(path)


def test_an_image_is_one_frame_at_time_zero(tmp_path: Path) -> None:
    save(tmp_path / "ä b [1].png", 7)
    (frame,) = ImageReader(tmp_path / "ä b [1].png", RATE)
    assert (frame.index, frame.captured_at, frame.image.dtype) == (0, 0.0, np.uint8)
    assert frame.image.shape == (48, 64, 3)
    assert (frame.image == 7).all()


def test_a_folder_counts_the_numbers_in_names(tmp_path: Path) -> None:
    for level, name in enumerate(["1.png", "2.png", "10.PNG", "11.png"]):
        save(tmp_path / name, level)
    folder = ImageFolderReader(tmp_path, RATE)
    frames = list(folder)
    assert folder.length == 4
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 1, 2, 3]
    assert [frame.captured_at for frame in frames] == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30])


def test_names_with_the_same_number_keep_one_order(tmp_path: Path) -> None:
    for level, name in enumerate(["01.png", "1.png"]):
        save(tmp_path / name, level)
    assert [int(frame.image[0, 0, 0]) for frame in ImageFolderReader(tmp_path, RATE)] == [0, 1]


def test_names_sort_where_digits_are_superscripts_or_of_other_scripts() -> None:
    names = ["a10", "a٢", "1²2", "²", ""]
    assert sorted(names, key=natural) == ["", "1²2", "a٢", "a10", "²"]


def test_a_folder_passes_over_files_that_are_not_images(tmp_path: Path) -> None:
    save(tmp_path / "1.png")
    (tmp_path / "._1.png").write_bytes(b"left by macOS")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "2.png").mkdir()
    assert ImageFolderReader(tmp_path, RATE).length == 1


def test_a_folder_without_images_is_refused_with_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no images in .*it should hold \.png"):
        ImageFolderReader(tmp_path, RATE)


def test_a_folder_reads_one_image_at_a_time(tmp_path: Path) -> None:
    save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"damaged")
    frames = iter(ImageFolderReader(tmp_path, RATE))
    next(frames)
    with pytest.raises(MediaError, match=r"cannot read the image .*2\.png: it is damaged"):
        next(frames)


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_an_image_of_several_tiles_is_read_whole(tmp_path: Path, suffix: str) -> None:
    tiles = [plain(colour, width=64, height=64) for colour in COLOURS]
    image = read(write_grid(tmp_path / f"a{suffix}", tiles, columns=2))
    assert image.shape == (128, 128, 3)
    corners = [image[y, x] for y, x in ((9, 9), (9, -9), (-9, 9), (-9, -9))]
    assert np.abs(np.array(corners, int) - COLOURS).max() <= 3


def test_a_folder_goes_on_after_damaged_images_where_they_are_reported(tmp_path: Path) -> None:
    for level in range(5):
        save(tmp_path / f"{level}.png", level)
    for damaged in (0, 3):
        (tmp_path / f"{damaged}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    lines: list[str] = []
    frames = list(ImageFolderReader(tmp_path, RATE, lines.append))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 4]
    assert [frame.index for frame in frames] == [0, 1, 2]
    (line,) = lines
    assert "cannot read the image" in line
    assert "0.png" in line
    assert line.endswith(", and 1 more images; skipped")


def test_a_folder_of_damaged_images_alone_is_an_error(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(MediaError, match="cannot read the image"):
        list(ImageFolderReader(tmp_path, RATE, report=[].append))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("LA", (90, 0), (90, 90, 90)),
        ("RGBA", (255, 128, 0, 10), (255, 128, 0)),
        ("P", 3, None),
        ("I;16", 0x8012, (128, 128, 128)),
    ],
)
def test_every_kind_of_png_becomes_eight_bit_rgb(
    tmp_path: Path, mode: str, colour: object, expected: tuple[int, int, int] | None
) -> None:
    path = tmp_path / "a.png"
    original = Pillow.new(mode, (5, 3), colour)  # type: ignore[arg-type]
    if mode == "P":
        original.putpalette([0] * 9 + [1, 200, 30])
        expected = (1, 200, 30)
    original.save(path)
    image = read(path)
    assert image.shape == (3, 5, 3)
    assert tuple(image[0, 0]) == expected


def test_sixteen_bit_colour_keeps_its_upper_bytes(tmp_path: Path) -> None:
    import av

    # Pillow writes no such PNG itself.
    frame = av.VideoFrame.from_ndarray(np.full((4, 4, 3), 0x4020, np.uint16), format="rgb48le")
    path = tmp_path / "a.png"
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        track = container.add_stream("png", rate=1, width=4, height=4, pix_fmt="rgb48be")
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    assert (read(path) == 0x40).all()


def test_pixels_of_32_bits_are_refused_and_not_cut_off(tmp_path: Path) -> None:
    Pillow.new("F", (8, 8), 0.5).save(tmp_path / "a.tif")
    with pytest.raises(MediaError, match=r"32 bits; save it with 8 or 16"):
        read(tmp_path / "a.tif")


def test_cmyk_jpegs_become_rgb(tmp_path: Path) -> None:
    Pillow.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg")[0, 0].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_an_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    image = plain((0, 0, 0), width=40, height=20)
    image[:, :10] = 255
    exif = Pillow.Exif()
    exif[0x0112] = 6  # To be turned a quarter clockwise.
    Pillow.fromarray(image).save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = read(tmp_path / "a.jpg")
    assert upright.shape == (40, 20, 3)
    assert upright[2, 10].min() > 200
    assert upright[37, 10].max() < 50


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_not_an_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"cannot read the image .*a\.png"):
        ImageReader(path, RATE)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    rng = np.random.default_rng(0)
    Pillow.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"cannot read the image"):
        ImageReader(path, RATE)
