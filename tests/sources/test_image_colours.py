"""Images look as they look elsewhere: colour profiles, inks, depths; and none takes all memory."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from streamcam.errors import MediaError
from streamcam.sources.image_reader import read
from streamcam.sources.tone_mapping import to_sdr
from tests.support.heif import write_grid
from tests.support.icc import ADOBE_RGB, DISPLAY_P3, cmyk_profile, grey_profile, rgb_profile
from tests.support.media import plain

COLOUR = (230, 60, 40)


def in_srgb(image: Pillow.Image, profile: bytes) -> tuple[int, ...]:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None
    return converted.getpixel((5, 5))  # type: ignore[return-value]


@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB])
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_a_colour_profile_is_converted_to_srgb(
    tmp_path: Path, format_name: str, primaries: tuple[tuple[float, float, float], ...]
) -> None:
    profile, image = rgb_profile(primaries), Pillow.fromarray(plain(COLOUR))
    image.save(tmp_path / "a", format_name, icc_profile=profile, quality=100)
    wanted = in_srgb(image, profile)
    assert np.abs(np.subtract(wanted, COLOUR)).max() > 10
    assert read(tmp_path / "a")[5, 5].tolist() == pytest.approx(wanted, abs=4)


def test_the_profile_of_an_animation_and_of_a_palette_is_converted(tmp_path: Path) -> None:
    profile, image = rgb_profile(DISPLAY_P3), Pillow.fromarray(plain(COLOUR))
    wanted = pytest.approx(in_srgb(image, profile), abs=1)
    other = Pillow.fromarray(plain((0, 0, 0)))
    image.save(tmp_path / "a", "PNG", icc_profile=profile, save_all=True, append_images=[other])
    assert read(tmp_path / "a")[5, 5] == wanted
    image.quantize(4).save(tmp_path / "b", "PNG", icc_profile=profile)
    assert read(tmp_path / "b")[5, 5] == wanted
    image.convert("RGBA").save(tmp_path / "c", "PNG", icc_profile=profile)
    assert read(tmp_path / "c")[5, 5] == wanted


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_the_profile_of_a_grey_image_is_converted(tmp_path: Path, mode: str) -> None:
    grey = Pillow.new("L", (16, 16), 100)
    deep = Pillow.fromarray(np.full((16, 16), 100 << 8, np.uint16))
    image = deep if mode == "I;16" else grey.convert(mode)
    profile = grey_profile(1.0)
    image.save(tmp_path / "a", "PNG", icc_profile=profile)
    wanted = in_srgb(grey, profile)
    assert wanted[0] > 150
    assert tuple(read(tmp_path / "a")[5, 5]) == wanted


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_inks_are_converted_by_their_profile(tmp_path: Path, format_name: str) -> None:
    image, profile = Pillow.new("CMYK", (16, 16), (0, 255, 255, 0)), cmyk_profile()
    image.save(tmp_path / "a", format_name, icc_profile=profile, quality=100)
    wanted = in_srgb(image, profile)
    assert np.ptp(wanted) < 6
    assert read(tmp_path / "a")[5, 5] == pytest.approx(wanted, abs=3)


def in_sdr(transfer: int, primaries: int) -> list[int]:
    signal = np.array([COLOUR]) / 255
    return (to_sdr(signal, transfer, primaries)[0] * 255).round().astype(int).tolist()


def tag_png(path: Path, transfer: int, primaries: int) -> None:
    """Put a chunk of coding-independent code points behind the header of a PNG."""
    chunk = b"cICP" + bytes([primaries, transfer, 0, 1])
    chunk = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = path.read_bytes()
    path.write_bytes(content[:33] + chunk + content[33:])


@pytest.mark.parametrize(("transfer", "primaries"), [(13, 12), (16, 9), (18, 9)])
@pytest.mark.parametrize("suffix", [".png", ".avif", ".heic"])
def test_wide_and_hdr_colours_that_are_tagged_become_srgb(
    tmp_path: Path, suffix: str, transfer: int, primaries: int
) -> None:
    path, image = tmp_path / f"a{suffix}", plain(COLOUR, width=64, height=64)
    if suffix == ".png":
        Pillow.fromarray(image).save(path, icc_profile=grey_profile(1.0))
        tag_png(path, transfer, primaries)
    else:
        write_grid(path, [image] * 2, 2, transfer=transfer, primaries=primaries)
    wanted = in_sdr(transfer, primaries)
    assert np.abs(np.subtract(wanted, COLOUR)).max() > 8
    assert read(path)[5, 5].tolist() == pytest.approx(wanted, abs=6)


def test_tags_of_srgb_change_nothing(tmp_path: Path) -> None:
    Pillow.fromarray(plain(COLOUR)).save(tmp_path / "a.png")
    tag_png(tmp_path / "a.png", 13, 1)
    assert tuple(read(tmp_path / "a.png")[5, 5]) == COLOUR


def test_an_image_in_lab_becomes_rgb(tmp_path: Path) -> None:
    Pillow.new("LAB", (16, 16), (128, 128, 128)).save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif")[5, 5] == pytest.approx((119, 119, 119), abs=3)


@pytest.mark.parametrize(
    ("profile", "logged"),
    [(b"damaged", True), (rgb_profile(DISPLAY_P3)[:200], True), (grey_profile(1.0), False)],
)
def test_a_profile_that_is_damaged_or_for_other_pixels_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, profile: bytes, logged: bool
) -> None:
    image = Pillow.fromarray(plain(COLOUR))
    image.save(tmp_path / "a.png", icc_profile=profile)
    assert tuple(read(tmp_path / "a.png")[5, 5]) == COLOUR
    assert ("colour profile is left out" in caplog.text) == logged


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("RGB", (0x40, 0x80, 0xC0)), ("RGBA", (0x40, 0x80, 0xC0)), ("LA", (0x40, 0x40, 0x40))],
)
def test_sixteen_bits_a_channel_with_and_without_transparency_keep_their_upper_bytes(
    tmp_path: Path, mode: str, expected: tuple[int, ...]
) -> None:
    kind = {"RGB": 2, "RGBA": 6, "LA": 4}[mode]
    pixel = {"RGB": "4020808000c0", "RGBA": "402080ffc0ff8000", "LA": "40208000"}[mode]
    pixel = {"RGB": "40208010c0ff"}.get(mode, pixel)
    write_png(tmp_path / "a", 4, 4, kind, bytes.fromhex(pixel), depth=16)
    assert tuple(read(tmp_path / "a")[1, 1]) == expected


def test_a_palette_with_transparency_keeps_its_colours(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    image = Pillow.new("P", (8, 8), 1)
    image.putpalette([9, 9, 9, 200, 100, 50])
    for number, transparency in enumerate((1, bytes([255, 0]), bytes([0, 120]))):
        path = tmp_path / f"{number}.png"
        image.save(path, transparency=transparency)
        assert tuple(read(path)[3, 3]) == (200, 100, 50)
    assert not recwarn.list


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_is_turned_upright(
    tmp_path: Path, format_name: str, orientation: int
) -> None:
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24], stored[:16, 24:], stored[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    Pillow.fromarray(stored).save(tmp_path / "a", format_name, exif=exif, quality=100)
    turned = {
        2: stored[:, ::-1],
        3: np.rot90(stored, 2),
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored),
    }.get(orientation, stored)
    image = read(tmp_path / "a")
    assert image.shape == turned.shape
    assert np.abs(image[4::8, 4::8].astype(int) - turned[4::8, 4::8]).max() < 30


def write_png(path: Path, width: int, height: int, kind: int, pixel: bytes, *, depth: int) -> None:
    """Write a PNG of one colour; it may claim any size, with one row of pixels at the most."""
    rows = min(height, 4)
    data = (b"\0" + pixel * min(width, 4)) * rows
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        checksum = zlib.crc32(name + body)
        content += struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)
    path.write_bytes(content)


def claim_size(path: Path, format_name: str) -> None:
    """Write a small image whose header claims 12,000 pixels a side."""
    Pillow.new("RGB", (64, 64)).save(path, format_name, progressive=True)
    content = bytearray(path.read_bytes())
    small, large, order = {
        "GIF": (b"\x40\0\x40\0", struct.pack("<HH", 12000, 12000), 1),
        "BMP": (struct.pack("<ii", 64, 64), struct.pack("<ii", 12000, 12000), 1),
        "JPEG": (b"\0\x40\0\x40", struct.pack(">HH", 12000, 12000), 1),
        "TIFF": (struct.pack("<I", 64), struct.pack("<I", 12000), 2),
    }[format_name]
    path.write_bytes(content.replace(small, large, order))


@pytest.mark.parametrize("format_name", ["PNG", "GIF", "BMP", "JPEG", "TIFF", "WEBP"])
def test_an_image_of_too_many_pixels_is_refused_undecoded(
    tmp_path: Path, format_name: str, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "a"
    if format_name == "PNG":
        write_png(path, 12000, 12000, 2, b"\0\0\0", depth=8)
    elif format_name == "WEBP":
        # The canvas of an animation may be larger than all its frames.
        images = [Pillow.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
        images[0].save(path, "WEBP", save_all=True, append_images=images[1:])
        content = bytearray(path.read_bytes())
        content[24:30] = (11999).to_bytes(3, "little") * 2
        path.write_bytes(content)
    else:
        claim_size(path, format_name)
    tracemalloc.start()
    with pytest.raises(MediaError, match=r"144 megapixels, more than the 67 that are read; make"):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000
    assert not recwarn.list
