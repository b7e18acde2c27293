"""The pipelines: image and video, each one record; nothing else asks which of them runs.

Their functions import torch when they are called, so that a command that needs none starts at
once.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from streamcam.errors import ConfigError
from streamcam.settings.config import Config
from streamcam.settings.environment import torchrun_launch
from streamcam.system.cores import available_cores
from streamcam.system.paths import leave_deleted_folder
from streamcam.types import Frame, Image, Stream

Report = Callable[[str], None]
"""Takes one line of progress at a time."""


class LoadedStream(Stream, Protocol):
    """A stream with its model loaded, whose slow first calls can be made beforehand."""

    counts: Counter[str]
    """How many frames were ``processed``, ``skipped`` and ``dropped``."""

    @property
    def notice(self) -> str:
        """A line on live values in use that have no effect; empty if all have."""

    @property
    def accepts_any_size(self) -> bool:
        """Whether frames may come in any size: the device fits them; else they come fitted."""

    @property
    def is_settled(self) -> bool:
        """Whether it runs as it will go on to: with the parameters of the last call, with nothing
        being loaded or built for it."""

    def warm_up(self) -> None:
        """Run the model on black frames as ``warmup`` asks, and forget them."""


@runtime_checkable
class QueuedStream(LoadedStream, Protocol):
    """A stream with an input queue, from which it may drop frames to be in time."""

    @property
    def delivery_summary(self) -> str:
        """Counts of frames that were late or dropped, in one line."""

    def put(self, frame: Frame) -> None:
        """Queue a frame; the next call decides whether it is used."""


@runtime_checkable
class OverlappedStream(LoadedStream, Protocol):
    """A stream that may still be at the outputs of a call when it takes the next frame in."""

    def wait(self) -> None:
        """Wait until the next frame can be taken in at once: the newest one is picked then."""

    def finish(self) -> Sequence[Frame]:
        """Return the frames whose outputs are still to be made, for want of a new frame."""


@runtime_checkable
class ControlledStream(LoadedStream, Protocol):
    """A stream that may have ControlNets."""

    def control_image(self) -> Image | None:
        """Return the newest images that they are shown, side by side; None while there are none."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One way from frames to images: how its model is found, fetched, built and run."""

    default_model: str | None
    """The model that ``model=auto`` takes; None: a cached one, else the embedded one."""
    check: Callable[[Config], None]
    """Raise at once, without torch, a ModelError for a model that is surely missing."""
    load: Callable[[Config, Report], LoadedStream]
    """Load the stream for a file, where every frame is wanted."""
    load_live: Callable[[Config, Report], LoadedStream]
    """Load the stream for a broadcast, where the newest frame is wanted."""
    load_shared: Callable[[Config, Report, int], Sequence[LoadedStream]] | None
    """Load so many streams that share the calls of one model; None where that cannot be."""
    fetch: Callable[[Config, Report], None]
    """Fetch from the hub all that a stream of these settings needs."""
    build_engines: Callable[[Config, Report, bool], None] | None
    """Build the engines of a stream before it starts; None where its stages run on none."""
    follow: Callable[[Config, bool], None] | None
    """Run as a rank that torchrun started, live or not; None where one process does all."""


def pipeline_of(config: Config) -> Pipeline:
    """Return the pipeline that `config` names."""
    return PIPELINES[config.pipeline]


def load_stream(config: Config, report: Report, *, live: bool = False) -> LoadedStream:
    """Load the stream of `config`; its first calls are still slow, see `LoadedStream.warm_up`.

    Args:
        config: what to run.
        report: takes a line of progress at a time.
        live: the newest frame is wanted; else every one of them.

    Raises:
        StreamcamError: something is missing, damaged or does not fit.
    """
    leave_deleted_folder()
    pipeline = pipeline_of(config)
    return (pipeline.load_live if live else pipeline.load)(config, report)


def load_shared_streams(config: Config, report: Report, count: int) -> Sequence[LoadedStream]:
    """Load `count` streams of one model, with their first calls made; see `load_stream`.

    Each is to be called from a thread of its own.
    """
    leave_deleted_folder()
    load = pipeline_of(config).load_shared
    if load is None:
        raise ConfigError(f"pipeline={config.pipeline} has one stream for each engine")
    return load(config, report, count)


def run_as_rank(config: Config, *, live: bool = False) -> bool:
    """Serve another process's stream until it ends, if torchrun started this process for that.

    Args:
        config: the settings of the first process.
        live: whether the first process's engine is started again when it is lost.

    Returns:
        False, at once, where this process is the first one, or the only one.

    Raises:
        ConfigError: torchrun started several processes for a pipeline that runs in one.
        EngineError: the first process was lost and will not come back.
    """
    launch = torchrun_launch()
    follow = pipeline_of(config).follow
    if launch and follow is None:
        raise ConfigError(
            f"pipeline={config.pipeline} runs in one process: start it without torchrun"
        )
    if launch is None or launch.rank == 0 or follow is None:
        return False
    follow(config, live)
    return True


def release_ranks() -> None:
    """Let the other processes end that torchrun started together with this one."""
    if torchrun_launch():
        from streamcam.video.parallel import launcher

        launcher.release_torchrun_ranks()


def _check_image(config: Config) -> None:
    from streamcam.models.presence import check_image_models
    from streamcam.sources.source_table import open_source

    check_image_models(config)
    for shown in config.control_inputs.values():
        if shown.source:
            open_source(shown.source, config.broadcast)  # It is opened only where it is entered.


def _load_image(config: Config, report: Report) -> LoadedStream:
    from streamcam.diffusion.image_model import load_image_model
    from streamcam.diffusion.stream import DiffusionStream

    return DiffusionStream(load_image_model(config, report), config, ahead=True)


def _load_live_image(config: Config, report: Report) -> LoadedStream:
    from streamcam.diffusion.quick_start import load_live_image_model
    from streamcam.diffusion.second_source import NewestImage
    from streamcam.diffusion.stream import DiffusionStream
    from streamcam.frames import frame_transfer

    model = load_live_image_model(config, report)
    return DiffusionStream(
        model,
        config,
        frame_transfer(config, model.device, on_air=True),
        open_second=NewestImage,
        in_background=True,
        overlaps=model.device.type == "cpu" and available_cores() > 1,
    )


def _load_shared_image(config: Config, report: Report, count: int) -> Sequence[LoadedStream]:
    from streamcam.diffusion.shared_stream import load_shared_streams, warm_up_together

    streams = load_shared_streams(config, report, count)
    warm_up_together(streams)
    return streams


def _fetch_image(config: Config, report: Report) -> None:
    from streamcam.engines.placement import place
    from streamcam.models.checkpoint import fetch

    fetch(config, place(config).weights_dtype, report)


def _build_image_engines(config: Config, report: Report, tunes: bool) -> None:
    from streamcam.diffusion.build_engines import build_engines

    build_engines(config, report, loading=report, tunes=tunes)


def _check_video(config: Config) -> None:
    from streamcam.models.presence import check_video_models

    check_video_models(config)


def _load_video(config: Config, report: Report) -> LoadedStream:
    from streamcam.video.video_model import load_video_model
    from streamcam.video.video_stream import VideoStream

    return VideoStream(load_video_model(config, report), config)


def _load_live_video(config: Config, report: Report) -> LoadedStream:
    from streamcam.frames import frame_transfer
    from streamcam.video.live_stream import LiveVideoStream
    from streamcam.video.video_model import load_video_model

    models = load_video_model(config, report, live=True)
    transfer = frame_transfer(config, models.device, on_air=True)
    return LiveVideoStream(models, config, report=report, transfer=transfer)


def _fetch_video(config: Config, report: Report) -> None:
    from streamcam.video.wan_checkpoint import fetch

    fetch(config, report)


def _follow_video(config: Config, live: bool) -> None:
    from streamcam.video.parallel.launcher import serve_torchrun_rank
    from streamcam.video.parallel.ranks import rank_info

    serve_torchrun_rank(config, rank_info(config), live=live)


PIPELINES = {
    "image": Pipeline(
        default_model=None,
        check=_check_image,
        load=_load_image,
        load_live=_load_live_image,
        load_shared=_load_shared_image,
        fetch=_fetch_image,
        build_engines=_build_image_engines,
        follow=None,
    ),
    "video": Pipeline(
        default_model="jerryfeng/StreamDiffusionV2/wan_causal_dmd_v2v",
        check=_check_video,
        load=_load_video,
        load_live=_load_live_video,
        load_shared=None,
        fetch=_fetch_video,
        build_engines=None,
        follow=_follow_video,
    ),
}
