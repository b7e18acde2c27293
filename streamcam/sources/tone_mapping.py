"""HDR and wide-gamut video to SDR: one lookup table, applied by FFmpeg.

PQ and HLG (ITU-R BT.2100) are decoded to light, mapped by the curve of ITU-R BT.2390 so that
highlights roll off below white instead of clipping, and encoded as sRGB. BT.2020 and P3 colours
are brought into BT.709; those outside lose saturation, not hue.
"""

from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, VideoReformatter
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PQ, HLG = int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)
D65 = (0.3127, 0.3290)
BT709 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
WIDE_GAMUTS = {
    int(ColorPrimaries.BT2020): BT2020,
    int(ColorPrimaries.SMPTE431): P3,
    int(ColorPrimaries.SMPTE432): P3,
}
"""Red, green and blue ``(x, y)`` by FFmpeg's number of the primaries."""
LUMA = np.array([0.2126, 0.7152, 0.0722])
PEAK_NITS = 1000.0
"""Brightest light that is kept apart from white: what most HDR video is graded for."""
WHITE_NITS = 203.0
"""Light of a white sheet in HDR (ITU-R BT.2408), which becomes the white of SDR."""
EDGE = 33
"""Grid points along each axis of the table."""
DEEP = "gbrp16le"


def needs_mapping(transfer: int, primaries: int) -> bool:
    """Return whether video with these tags of FFmpeg is HDR or has a wide gamut."""
    return transfer in (PQ, HLG) or primaries in WIDE_GAMUTS


class ToneMapper:
    """Maps frames of one size and one pair of tags to SDR.

    Args:
        size: (width, height) of the frames.
        transfer: FFmpeg's number of the transfer characteristic.
        primaries: FFmpeg's number of the primaries.
    """

    def __init__(self, size: tuple[int, int], transfer: int, primaries: int) -> None:
        self.key = (size, transfer, primaries)
        self._reformatter = VideoReformatter()
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=size[0], height=size[1], format=VideoFormat(DEEP), time_base=Fraction(1, 1000)
        )
        with TemporaryDirectory(prefix="streamcam-") as folder:
            path = Path(folder) / "sdr.cube"
            path.write_text(cube(transfer, primaries))
            table = self._graph.add("lut3d", file=str(path), interp="tetrahedral")
            self._graph.link_nodes(source, table, self._graph.add("buffersink")).configure()

    def __call__(self, deep: VideoFrame) -> VideoFrame:
        """Return `deep`, RGB in `DEEP`, as SDR in ``rgb24``."""
        self._graph.vpush(deep)
        return self._reformatter.reformat(self._graph.vpull(), format="rgb24")


@lru_cache(maxsize=4)
def cube(transfer: int, primaries: int) -> str:
    """Return the table from the video's signal to sRGB as a ``.cube`` file, red fastest."""
    rows = [f"{r:.5f} {g:.5f} {b:.5f}\n" for r, g, b in sdr_table(transfer, primaries)]
    return f"LUT_3D_SIZE {EDGE}\n{''.join(rows)}"


def sdr_table(transfer: int, primaries: int) -> Floats:
    """Return sRGB values ``(EDGE³, 3)`` in [0, 1] for a grid of signal values, red fastest."""
    axis = np.linspace(0.0, 1.0, EDGE)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    signal = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    return to_sdr(signal, transfer, primaries)


def to_sdr(signal: Floats, transfer: int, primaries: int) -> Floats:
    """Return sRGB values ``(n, 3)`` in [0, 1] for the video's signal values ``(n, 3)`` in [0, 1].

    HDR without primaries that are known counts as BT.2020, as BT.2100 has it.
    """
    if transfer in (PQ, HLG):
        nits = pq_to_nits(signal) if transfer == PQ else hlg_to_nits(signal)
        light = _rolled_off(nits) / WHITE_NITS
        gamut = BT709 if primaries == ColorPrimaries.BT709 else WIDE_GAMUTS.get(primaries, BT2020)
    else:
        light, gamut = _srgb_to_light(signal), WIDE_GAMUTS[primaries]
    to_bt709 = np.linalg.inv(_to_xyz(BT709)) @ _to_xyz(gamut)
    return _light_to_srgb(_into_gamut(light @ to_bt709.T))


def pq_to_nits(signal: Floats) -> Floats:
    """Return the light of PQ values in [0, 1], in cd/m² (BT.2100, table 4)."""
    root = np.maximum(signal, 0.0) ** (1 / 78.84375)
    power: Floats = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    return 1e4 * power ** (1 / 0.1593017578125)


def nits_to_pq(nits: Floats) -> Floats:
    """Return the PQ values of light in cd/m², the inverse of `pq_to_nits`."""
    power = (np.maximum(nits, 0.0) / 1e4) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg_to_nits(signal: Floats) -> Floats:
    """Return the light that a display of 1000 cd/m² shows of HLG values ``(n, 3)`` (table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    nits: Floats = PEAK_NITS * scene * luminance[:, None] ** 0.2
    return nits


def _rolled_off(nits: Floats) -> Floats:
    """Map light up to `PEAK_NITS` to `WHITE_NITS` at most, each colour by its brightest part."""
    peak = nits_to_pq(np.array(PEAK_NITS))
    white = nits_to_pq(np.array(WHITE_NITS)) / peak
    brightest = np.clip(nits.max(axis=1), 1e-6, PEAK_NITS)
    level = nits_to_pq(brightest) / peak
    # BT.2390, 5.4.1: a Hermite spline from the knee on.
    knee = 1.5 * white - 0.5
    t = np.maximum(level - knee, 0) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (3 * t**2 - 2 * t**3) * white
    )
    mapped = pq_to_nits(np.where(level < knee, level, spline) * peak)
    result: Floats = np.minimum(nits, PEAK_NITS) * (mapped / brightest)[:, None]
    return result


def _into_gamut(light: Floats) -> Floats:
    """Mix each colour with grey of its own luminance just so far that it lies in [0, 1]."""
    grey = np.clip(light @ LUMA, 0.0, 1.0)[:, None]
    offset = light - grey
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(offset > 0, (1 - grey) / offset, np.where(offset < 0, -grey / offset, 1.0))
    share = np.minimum(room.min(axis=1), 1.0)[:, None]
    mixed: Floats = np.clip(grey + offset * share, 0.0, 1.0)
    return mixed


def _to_xyz(gamut: tuple[tuple[float, float], ...]) -> Floats:
    """Return the matrix from linear RGB with primaries `gamut` and D65 white to CIE XYZ."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in gamut]).T
    x, y = D65
    matrix: Floats = columns * np.linalg.solve(columns, np.array([x / y, 1.0, (1 - x - y) / y]))
    return matrix


def _srgb_to_light(signal: Floats) -> Floats:
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _light_to_srgb(light: Floats) -> Floats:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
