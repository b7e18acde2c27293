"""The stream of each pipeline, by name; imported in use, as importing torch takes seconds."""

from collections import Counter
from typing import Protocol, runtime_checkable

from streamcam.errors import ConfigError
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.settings.video_settings import launched
from streamcam.types import Frame, Stream


class WarmStream(Stream, Protocol):
    """A stream whose first calls, which are slow, can be made beforehand."""

    counts: Counter[str]
    """How many frames were ``processed``, and the like."""

    def warm_up(self) -> None:
        """Make the calls that ``warmup`` asks for, and forget them."""


@runtime_checkable
class QueuedStream(WarmStream, Protocol):
    """A stream that may let frames wait, and give some of them up, to be in time."""

    @property
    def delivery_summary(self) -> str:
        """How the frames have fared, in one line."""

    def put(self, frame: Frame) -> None:
        """Let a frame wait; the next call decides what becomes of it."""


def load_stream(config: Config, report: Report, *, live: bool = False) -> WarmStream:
    """Return the stream of `config`, its model loaded, not yet warm.

    Args:
        config: what to run.
        report: takes a line of progress at a time.
        live: whether frames come as time passes; else every one of them is wanted.

    Raises:
        StreamcamError: something is missing, damaged or does not fit.
    """
    return (PIPELINES | LIVE if live else PIPELINES)[config.pipeline](config, report)


def follows(config: Config, *, live: bool = False) -> bool:
    """Where torchrun started this process to follow another, do so until that ends; say whether.

    Args:
        config: as the process that is followed has it.
        live: whether its engine, if lost, is started again.

    Raises:
        ConfigError: several processes were started for what runs in one.
        EngineError: it was lost, and is not.
    """
    launch = launched()
    if launch and config.pipeline != "video":
        raise ConfigError("pipeline=image runs in one process: start it without torchrun")
    if launch is None or launch.rank == 0:
        return False
    from streamcam.video.parallel.launcher import serve_torchrun_rank
    from streamcam.video.parallel.ranks import rank_info

    serve_torchrun_rank(config, rank_info(config), live=live)
    return True


def dismiss() -> None:
    """Let the processes end that torchrun started to follow this one."""
    if launched():
        from streamcam.video.parallel import launcher

        launcher.release_torchrun_ranks()


def _image(config: Config, report: Report) -> WarmStream:
    from streamcam.diffusion.image_model import load_image_model
    from streamcam.diffusion.stream import DiffusionStream

    return DiffusionStream(load_image_model(config, report), config, ahead=True)


def _live_image(config: Config, report: Report) -> WarmStream:
    from streamcam.diffusion.image_model import load_image_model
    from streamcam.diffusion.stream import DiffusionStream
    from streamcam.frames import frame_transfer

    models = load_image_model(config, report)
    return DiffusionStream(models, config, frame_transfer(config, models.device, on_air=True))


def _video(config: Config, report: Report) -> WarmStream:
    from streamcam.video.video_model import load_video_model
    from streamcam.video.video_stream import VideoStream

    return VideoStream(load_video_model(config, report), config)


def _live_video(config: Config, report: Report) -> WarmStream:
    from streamcam.video.live_stream import LiveVideoStream
    from streamcam.video.video_model import load_video_model

    return LiveVideoStream(load_video_model(config, report, live=True), config, report=report)


PIPELINES = {"image": _image, "video": _video}
LIVE = {"image": _live_image, "video": _live_video}
