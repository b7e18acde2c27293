from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from streamcam.sources.tone_mapping import HLG, PQ, nits_to_pq
from streamcam.types import Image
from tests.support.media import RATE, plain, read

BT709, UNSPECIFIED, BT601, YCGCO, BT2020, CONSTANT_LUMINANCE = 1, 2, 6, 8, 9, 10
LIMITED, FULL = 1, 2
P3 = 12
ORANGE = (200, 120, 40)


def tagged(
    path: Path,
    image: np.ndarray[Any, Any],
    *,
    matrix: int,
    coded_as: int | None = None,
    transfer: int = UNSPECIFIED,
    primaries: int = UNSPECIFIED,
    colour_range: int = LIMITED,
) -> Path:
    """Write one frame without loss, tagged, from RGB of 8 or 16 bits.

    Args:
        path: where to write it.
        image: ``(H, W, 3)``.
        matrix: FFmpeg's number of the colour matrix to name.
        coded_as: the matrix that is used, if another than is named.
        transfer: FFmpeg's number of the transfer characteristic.
        primaries: FFmpeg's number of the primaries.
        colour_range: FFmpeg's number of the range.
    """
    deep = image.dtype == np.uint16
    used = {BT709: Colorspace.ITU709, BT601: Colorspace.ITU601, BT2020: Colorspace.BT2020}
    frame = av.VideoFrame.from_ndarray(image, format="rgb48le" if deep else "rgb24").reformat(
        format="yuv444p10le" if deep else "yuv444p",
        dst_colorspace=used[coded_as or matrix],
        dst_color_range=ColorRange(colour_range),
    )
    frame.colorspace, frame.color_range = matrix, colour_range
    with av.open(str(path), "w") as container:
        track: Any = container.add_stream("ffv1", rate=RATE)
        track.pix_fmt = frame.format.name
        track.width, track.height = frame.width, frame.height
        context = track.codec_context
        context.colorspace, context.color_range = matrix, colour_range
        context.color_trc, context.color_primaries = transfer, primaries
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def shown(path: Path) -> list[int]:
    """Return the colour in the middle of the only frame."""
    (frame,) = read(path)
    height, width = frame.image.shape[:2]
    colour: list[int] = frame.image[height // 2, width // 2].astype(int).tolist()
    return colour


@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [BT709, BT601, BT2020])
def test_the_matrix_and_range_that_a_file_names_are_used(
    tmp_path: Path, matrix: int, colour_range: int
) -> None:
    path = tmp_path / "a.mkv"
    tagged(path, plain(ORANGE), matrix=matrix, colour_range=colour_range)
    assert shown(path) == pytest.approx(ORANGE, abs=3)


@pytest.mark.parametrize(
    ("size", "coded_as"), [((64, 48), BT601), ((720, 576), BT601), ((1280, 720), BT709)]
)
@pytest.mark.parametrize("matrix", [UNSPECIFIED, YCGCO])
def test_without_a_matrix_high_definition_is_bt709_and_other_video_bt601(
    tmp_path: Path, size: tuple[int, int], coded_as: int, matrix: int
) -> None:
    width, height = size
    image = plain(ORANGE, width=width, height=height)
    path = tagged(tmp_path / "a.mkv", image, matrix=matrix, coded_as=coded_as)
    assert shown(path) == pytest.approx(ORANGE, abs=3)


def patches(levels: list[float]) -> np.ndarray[Any, Any]:
    """Return grey squares side by side, of signal levels in [0, 1], in 16 bits."""
    row = np.repeat(np.round(65535 * np.array(levels)), 16).astype(np.uint16)
    return np.tile(row[None, :, None], (16, 1, 3))


def levels_of(image: Image) -> list[int]:
    levels: list[int] = image[8, 8::16].mean(axis=1).astype(int).tolist()
    return levels


def test_pq_is_mapped_to_sdr(tmp_path: Path) -> None:
    nits = np.array([0, 37, 203, 1000])
    path = tagged(
        tmp_path / "a.mkv",
        patches(nits_to_pq(nits).tolist()),
        matrix=BT2020,
        transfer=PQ,
        primaries=BT2020,
    )
    (frame,) = read(path)
    assert frame.image.dtype == np.uint8
    assert levels_of(frame.image) == pytest.approx([0, 118, 230, 254], abs=4)


def test_hlg_is_mapped_to_sdr(tmp_path: Path) -> None:
    path = tagged(
        tmp_path / "a.mkv",
        patches([0.0, 0.38, 0.75, 1.0]),
        matrix=BT2020,
        transfer=HLG,
        primaries=BT2020,
    )
    (frame,) = read(path)
    assert levels_of(frame.image) == pytest.approx([0, 101, 230, 254], abs=4)


@pytest.mark.parametrize("primaries", [BT2020, P3])
def test_a_wide_gamut_is_converted(tmp_path: Path, primaries: int) -> None:
    path = tmp_path / "a.mkv"
    tagged(path, plain(ORANGE), matrix=BT709, transfer=BT709, primaries=primaries)
    red, green, blue = shown(path)
    # The same numbers mean a stronger orange than in BT.709.
    assert red > ORANGE[0] + 5
    assert green < ORANGE[1]
    assert blue < ORANGE[2] - 5
    tagged(path, plain((128, 128, 128)), matrix=BT709, transfer=BT709, primaries=primaries)
    assert shown(path) == pytest.approx([128] * 3, abs=2)


def test_constant_luminance_is_taken_for_its_near_relative(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    tagged(path, plain(ORANGE), matrix=CONSTANT_LUMINANCE, coded_as=BT2020)
    assert shown(path) == pytest.approx(ORANGE, abs=3)
