"""The Stream of each pipeline, by name; imported when first used, since both take seconds."""

from collections import Counter
from typing import Protocol

from streamcam.config import Config
from streamcam.diffusion.family import Say
from streamcam.types import Stream


class WarmStream(Stream, Protocol):
    """A stream whose first calls, which are slow, can be made beforehand."""

    counts: Counter[str]
    """How many frames were ``processed``, and the like."""

    def warm_up(self) -> None:
        """Make the calls that ``warmup`` asks for, and forget them."""


def load_stream(config: Config, say: Say) -> WarmStream:
    """Return the stream of `config`, its model loaded, not yet warm.

    Raises:
        StreamcamError: something is missing, damaged or does not fit.
    """
    return PIPELINES[config.pipeline](config, say)


def _image(config: Config, say: Say) -> WarmStream:
    from streamcam.diffusion.models import load_models
    from streamcam.diffusion.stream import DiffusionStream

    return DiffusionStream(load_models(config, say), config)


def _video(config: Config, say: Say) -> WarmStream:
    from streamcam.video.models import load_models
    from streamcam.video.stream import VideoStream

    return VideoStream(load_models(config, say), config)


PIPELINES = {"image": _image, "video": _video}
