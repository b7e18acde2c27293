"""Guided upsampling: an output enlarged to the canvas with the detail of its own camera frame.

The fast guided filter (He and Sun, "Fast Guided Filter", 2015): near each pixel the output is
taken as the camera frame times `a`, plus `b`. Both are fitted where the images are small, and
applied to the camera frame where it is large. Only where the output keeps the detail of the
camera does that hold: a weight says how far, from nothing but the two images. Halftone dots and
neon lines have no counterpart in the camera, and are enlarged as they are. So are pixel blocks,
which an output's own edges give away: they repeat at the same distance across and down.
"""

from math import ceil, sqrt
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from streamcam.geometry import Size
from streamcam.pixels import fitted
from streamcam.types import Image

Floats = NDArray[np.float32]
"""``(h, w)`` or ``(h, w, 3)`` float32, in levels unless it says otherwise."""

MAX_WEIGHT_PIXELS = 1 << 16
"""The weight is computed on half as many pixels across and down as the model's, or fewer."""
BAND_RADIUS = 3
"""What differs from the mean over so many of its pixels to each side counts as detail."""
WEIGHT_RADIUS = 6
"""Its pixels to each side that detail is compared on."""
FIT_RADIUS = 2
"""Pixels to each side that `a` and `b` are fitted on, on half as many again across and down."""
FIT_NOISE = 9.0
"""Variance of the camera, in squared levels, that no slope is fitted to: noise on even walls."""
DETAIL_NOISE = 4.0
"""Variance of detail, in squared levels, that counts as none."""
MAX_SLOPE = 3.0
"""Contrast of the camera is raised by this factor at most, since its noise is raised too."""
UNRELATED, RELATED = 0.35, 0.6
"""Squared correlation of detail up to which none is carried, and from which all of it is."""
OTHER_COLOURS, SAME_COLOURS = 0.4, 0.7
"""Correlation of colours up to which the output follows the camera's grey, and from which it
follows its colours."""
COLOUR_NOISE = 4.0
"""Mean square of colour, in levels, that counts as none."""
IN_COLOUR: Floats = np.eye(3, dtype=np.float32)
IN_GREY: Floats = np.tile(np.array([0.299, 0.587, 0.114], np.float32), (3, 1))
CELL = 8
"""Pixels of an output after which the edges of blocks and dots repeat, or a part of that."""
EVEN, GRIDDED = 0.4, 0.7
"""Unevenness of edges over the places in a cell up to which an output has no grid, and from which
it is all grid. Pixel art is at 0.7 to 1.2, halftone at 0.5 to 0.7, looks that keep the scene at
0.2 or less."""
EDGE_NOISE = 1.0
"""Mean edge, in levels, that counts as none."""
LEAST_WEIGHT = 0.02
"""If no pixel has this weight, the output is enlarged as it is."""
BANDS = 16
"""Parts that the large image is computed in, so that they stay in the processor's cache."""


class GuidedUpsampler:
    """Enlarges outputs of one size to another, in memory that is allocated once.

    Args:
        small: (width, height) of the model's outputs.
        large: (width, height) to enlarge them to.
    """

    def __init__(self, small: Size, large: Size) -> None:
        factor = max(2, ceil(sqrt(small[0] * small[1] / MAX_WEIGHT_PIXELS)))
        self._small, self._large = small, large
        self._weight_size = _divided(small, factor)
        self._fit_size = _divided(small, 2 * factor)
        self._rest, self._output, self._small_offset = _scratch(3, small)
        self._slope, self._offset = _scratch(2, large)
        self._band = np.empty((ceil(large[1] / BANDS), large[0], 3), np.float32)

    def __call__(
        self, output: Image, camera: Image, strength: float, camera_small: Image | None = None
    ) -> Image | None:
        """Return `output` enlarged with the detail of `camera`; None if it has none of it.

        Args:
            output: the model's output, of any size.
            camera: the camera frame that it was made of, at the size to enlarge to.
            strength: share of the detail to carry, 0 to 1.
            camera_small: the same frame as the model saw it, where that is at hand.
        """
        own = _shrunk(output, self._small)
        strength *= 1 - grid_share(own)
        if strength < LEAST_WEIGHT:
            return None
        if camera_small is None:
            camera_small = camera
        x, y = (_shrunk(image, self._weight_size) for image in (camera_small, output))
        weight = strength * detail_weight(x, y)
        if weight.max(initial=0.0) < LEAST_WEIGHT:
            return None
        x, y = (_shrunk(image, self._fit_size) for image in (x, y))
        guide = guide_matrix(x, y)
        a, b = affine_fit(cast(Floats, cv2.transform(_floats(x), guide)), _floats(y))
        w = cast(Floats, cv2.merge([_area_mean(weight, self._fit_size)] * 3))
        self._upsample(w * a, w * b, 1 - w, own)
        return self._applied(camera, guide)

    def _upsample(self, slope: Floats, offset: Floats, rest: Floats, output: Image) -> None:
        """Enlarge the slope, and the offset with `rest` of `output` added."""
        cv2.resize(rest, self._small, dst=self._rest, interpolation=cv2.INTER_LINEAR)
        cv2.resize(offset, self._small, dst=self._small_offset, interpolation=cv2.INTER_LINEAR)
        np.copyto(self._output, output)
        cv2.accumulateProduct(self._rest, self._output, self._small_offset)
        cv2.resize(slope, self._large, dst=self._slope, interpolation=cv2.INTER_LINEAR)
        cv2.resize(self._small_offset, self._large, dst=self._offset, interpolation=cv2.INTER_CUBIC)

    def _applied(self, camera: Image, guide: Floats) -> Image:
        """Return slope times `guide` of `camera` plus offset, rounded and within 0 to 255."""
        in_colour, in_grey = np.array_equal(guide, IN_COLOUR), np.array_equal(guide, IN_GREY)
        result = np.empty_like(camera, order="C")
        rows = len(self._band)
        for top in range(0, len(camera), rows):
            part = slice(top, top + rows)
            sums, frame = self._offset[part], self._band[: len(camera[part])]
            if in_grey:  # On bytes, which is quicker.
                grey = cv2.cvtColor(camera[part], cv2.COLOR_RGB2GRAY)
                np.copyto(frame, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))
            else:
                np.copyto(frame, camera[part])
            if not (in_colour or in_grey):
                cv2.transform(frame, guide, dst=frame)
            cv2.accumulateProduct(self._slope[part], frame, sums)
            # Negative sums are cut first: the conversion takes absolute values.
            cv2.threshold(sums, 0, 0, cv2.THRESH_TOZERO, dst=sums)
            cv2.convertScaleAbs(sums, dst=result[part])
        return result


def detail_weight(camera: Image, output: Image) -> Floats:
    """Return how far `output` keeps the detail of `camera`, both small: ``(h, w)``, 0 to 1.

    It is the squared correlation of what remains of both after their local means are taken away.
    Broad areas would correlate in pixel art too, and noise is no detail.
    """
    x, y = (_band_pass(image) for image in (camera, output))
    variances = _box(x * x, WEIGHT_RADIUS), _box(y * y, WEIGHT_RADIUS)
    r2 = _box(x * y, WEIGHT_RADIUS) ** 2
    r2 /= (variances[0] + DETAIL_NOISE) * (variances[1] + DETAIL_NOISE)
    t: Floats = np.clip((r2 - UNRELATED) / (RELATED - UNRELATED), 0, 1)
    return _box(t * t * (3 - 2 * t), WEIGHT_RADIUS // 2)


def grid_share(output: Image) -> float:
    """Return how far an output ``(H, W, 3)`` is made of blocks or dots on a grid, 0 to 1.

    One number for the whole of it, since a few edges of a scene lie on some grid by chance.
    """
    grey = cast(NDArray[np.uint8], cv2.cvtColor(output, cv2.COLOR_RGB2GRAY))
    unevenness = min(_unevenness(grey), _unevenness(grey.T))
    return min(max((unevenness - EVEN) / (GRIDDED - EVEN), 0.0), 1.0)


def _unevenness(grey: NDArray[np.uint8]) -> float:
    """Return the deviation of the mean edges at each column of a cell, as a share of their mean."""
    edges = cv2.absdiff(grey[:, 1:], grey[:, :-1]).mean(0)
    if len(edges) < CELL:
        return 0.0
    cells = edges[: len(edges) // CELL * CELL].reshape(-1, CELL).mean(0)
    return float(cells.std() / (cells.mean() + EDGE_NOISE))


def guide_matrix(camera: Image, output: Image) -> Floats:
    """Return the ``(3, 3)`` matrix that makes of RGB what `output` follows: its colours, or grey.

    Where the colours of the camera are not those of the output, in a pencil sketch or in false
    colours, they would shine through at every edge. Their correlation is one number for the whole
    frame, which moves slowly.
    """
    x, y = (_colours(image) for image in (camera, output))
    energies = float((x * x).mean()) + COLOUR_NOISE, float((y * y).mean()) + COLOUR_NOISE
    # A negative turns colours round and keeps their places.
    correlation = abs(float((x * y).mean())) / sqrt(energies[0] * energies[1])
    share = min(max((correlation - OTHER_COLOURS) / (SAME_COLOURS - OTHER_COLOURS), 0.0), 1.0)
    return share * IN_COLOUR + (1 - share) * IN_GREY


def _colours(image: Image) -> Floats:
    """Return how colours differ from grey, less the tint that all of the image has."""
    values = _floats(image)
    values -= values.mean(2, keepdims=True)
    values -= values.mean((0, 1))
    return values


def affine_fit(camera: Floats, output: Floats) -> tuple[Floats, Floats]:
    """Return smooth `a` and `b` for which ``a camera + b`` is nearest to `output` around a pixel.

    All are ``(h, w, 3)``; each channel is fitted by itself.
    """
    mean_x, mean_y = _box(camera, FIT_RADIUS), _box(output, FIT_RADIUS)
    variance = _box(camera * camera, FIT_RADIUS) - mean_x * mean_x
    covariance = _box(camera * output, FIT_RADIUS) - mean_x * mean_y
    a: Floats = np.clip(covariance / (variance + FIT_NOISE), -MAX_SLOPE, MAX_SLOPE)
    return _box(a, FIT_RADIUS), _box(mean_y - a * mean_x, FIT_RADIUS)


def _band_pass(image: Image) -> Floats:
    values = _floats(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return values - _box(values, BAND_RADIUS)


def _box(values: Floats, radius: int) -> Floats:
    side = 2 * radius + 1
    return cast(Floats, cv2.boxFilter(values, -1, (side, side)))


def _divided(size: Size, by: int) -> Size:
    return max(1, size[0] // by), max(1, size[1] // by)


def _shrunk(image: Image, size: Size) -> Image:
    return fitted(image, *size, "stretch")


def _area_mean(values: Floats, size: Size) -> Floats:
    return cast(Floats, cv2.resize(values, size, interpolation=cv2.INTER_AREA))


def _scratch(count: int, size: Size) -> list[Floats]:
    return [np.empty((size[1], size[0], 3), np.float32) for _ in range(count)]


def _floats(image: object) -> Floats:
    return cast(Image, image).astype(np.float32)
