"""Fill, fit and stretch: the crop of a source and the rectangle that it covers on a target.

Every resizer of the package asks here, so that an image stands on the same pixels whichever of
them made it.
"""

from fractions import Fraction
from typing import NamedTuple

Size = tuple[int, int]
"""(width, height)."""
SAME_SHAPE = 1.02
"""Aspect ratios that differ by less than this factor count as the same: a model's sides are
multiples of 8 or 64, and an image stretched by 2% looks better than bars or a crop."""


class AxisFit(NamedTuple):
    """One axis of a fit: a crop about the middle of the source, and the pixels that it covers."""

    source: int
    """Pixels of the source along this axis."""
    crop: float
    """Pixels of the source that are kept, not rounded."""
    first: int
    """First pixel on the target that is covered."""
    length: int
    """Pixels on the target that are covered; the others are a bar."""

    @property
    def begin(self) -> float:
        """Edge of the crop in the source, in pixels from 0."""
        return (self.source - self.crop) / 2

    @property
    def end(self) -> float:
        """Other edge of the crop in the source."""
        return (self.source + self.crop) / 2

    @property
    def crop_pixels(self) -> slice:
        """The crop in whole pixels, at least one, for resizers that cannot cut pixels."""
        count = min(self.source, max(1, round(self.crop)))
        first = (self.source - count) // 2
        return slice(first, first + count)

    @property
    def covered(self) -> slice:
        """The pixels of the target that are covered."""
        return slice(self.first, self.first + self.length)


def fit_axes(source: Size, target: Size, mode: str) -> tuple[AxisFit, AxisFit]:
    """Return how `source` is placed on `target`, across and down.

    Args:
        source: (width, height) of the image.
        target: (width, height) to cover.
        mode: ``fill`` crops about the centre, ``fit`` leaves bars at the edges, ``stretch``
            distorts; none is needed where both have the same shape, within `SAME_SHAPE`.
    """
    if have_same_shape(source, target):
        mode = "stretch"
    scale = uniform_scale(source, target, mode)
    if mode == "fill":
        # Rounding can put a crop beyond the source by the last bit, which resizers refuse.
        x, y = (AxisFit(s, min(s, t / scale), 0, t) for s, t in zip(source, target, strict=True))
    elif mode == "fit":
        x, y = (_centred(s, t, scale) for s, t in zip(source, target, strict=True))
    else:
        x, y = (AxisFit(s, s, 0, t) for s, t in zip(source, target, strict=True))
    return x, y


def have_same_shape(a: Size, b: Size) -> bool:
    """Return whether the aspect ratios of two sizes are the same, within `SAME_SHAPE`."""
    ratio = a[0] * b[1] / (a[1] * b[0])
    return 1 / SAME_SHAPE < ratio < SAME_SHAPE


def uniform_scale(source: Size, target: Size, mode: str) -> float:
    """Return the factor that makes `source` cover `target` (``fill``), else fit into it."""
    across, down = target[0] / source[0], target[1] / source[1]
    return max(across, down) if mode == "fill" else min(across, down)


def _centred(source: int, target: int, scale: float) -> AxisFit:
    length = max(1, round(source * scale))
    return AxisFit(source, source, (target - length) // 2, length)


MAX_PIXEL_ASPECT = 8
"""Pixels wider or narrower than this are an error in the file."""


def square_pixel_size(size: Size, pixel_aspect: Fraction | None) -> Size:
    """Return the size of an image whose pixels are made square by enlarging it along one axis.

    Args:
        size: (width, height) in pixels as they are stored.
        pixel_aspect: width of a pixel divided by its height; None, 0 and absurd values count as 1.
    """
    if not pixel_aspect or not 1 / MAX_PIXEL_ASPECT <= pixel_aspect <= MAX_PIXEL_ASPECT:
        return size
    width, height = size
    if pixel_aspect > 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)
