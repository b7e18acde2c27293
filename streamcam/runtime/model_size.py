"""Choose the size of the model's image by the shape of the source, so that nothing of it is cut."""

from contextlib import suppress
from fractions import Fraction

from streamcam.errors import StreamcamError
from streamcam.geometry import Size, have_same_shape
from streamcam.settings.config import Config
from streamcam.sources.source_table import is_source_kind, open_file_source
from streamcam.system.paths import expanded

STEPS = (64, 32, 16, 8)
"""Multiples that the longer side is tried in: models run best on the coarsest."""
GROWTH = 64
"""Pixels from one size of the shorter side to the next, on air."""
MAX_ASPECT = 2.5
"""Longer images are cut: they would have many more pixels than the model is meant for."""


def with_shape_of_source(config: Config) -> tuple[Config, str]:
    """Return `config` with the width and height that `shape` asks for, and a few words on them."""
    if config.shape == "fixed" or config.mode == "txt2img":
        return config, ""
    source = _visible_size(config)
    width, height = size_of_shape(source, min(config.width, config.height))
    why = f"{width}x{height} for the shape of {source[0]}x{source[1]}"
    return config.model_copy(update={"width": width, "height": height}), why


def sizes_on_air(config: Config) -> list[Size]:
    """Return the sizes of one shape that a model may have on air, the smallest first.

    That is the size of `config`, and what `grow_to` allows, in steps of 64 for the shorter side.
    """
    smallest = config.width, config.height
    if not config.can_grow or config.grow_to <= min(smallest):
        return [smallest]
    shape = _visible_size(config) if config.shape == "camera" else smallest
    sides = range(min(smallest) + GROWTH, config.grow_to + 1, GROWTH)
    return [smallest, *(size_of_shape(shape, side) for side in sides)]


def size_of_shape(shape: Size, short_side: int) -> Size:
    """Return the (width, height) whose shorter side is `short_side`, in the shape of `shape`.

    The longer side is a multiple of 64 if that is near enough to the shape, else of 32, 16 or 8.
    """
    wide = shape[0] >= shape[1]
    aspect = min(max(shape) / min(shape), MAX_ASPECT)
    wanted = (round(aspect * 1000), 1000)
    for step in STEPS:
        long_side = max(short_side, round(short_side * aspect / step) * step)
        if have_same_shape((long_side, short_side), wanted):
            break
    return (long_side, short_side) if wide else (short_side, long_side)


def _visible_size(config: Config) -> Size:
    """Return the size of the part of a camera frame that is seen on the canvas."""
    if config.broadcast.canvas_fit != "fit":
        return config.broadcast.canvas
    width, height = _source_size(config)
    return (height, width) if config.live.rotate in ("90", "270") else (width, height)


def _source_size(config: Config) -> Size:
    """Return the size of the source's frames; that of the canvas where it is not known before."""
    spec, broadcast = config.broadcast.source, config.broadcast
    if spec.partition(":")[0].lower() == "camera":
        return broadcast.camera_size
    path = expanded(spec)
    if is_source_kind(spec) or not path.exists():
        return broadcast.canvas
    # A file that cannot be read is reported by the source itself.
    with suppress(StreamcamError), open_file_source(path, Fraction(broadcast.rate)) as source:
        for frame in source:
            height, width = frame.image.shape[:2]
            return width, height
    return broadcast.canvas
