"""The public API: open a stream, a source, a sink or a whole broadcast in a few lines."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from streamcam.control.control_room import ControlRoom
from streamcam.control.messages import Argument
from streamcam.control.sink_commands import retry_sinks
from streamcam.control.state import Control
from streamcam.errors import ConfigError
from streamcam.pipelines import LoadedStream, load_stream, release_ranks
from streamcam.pixels import fitted, oriented
from streamcam.runtime.auto_settings import settle, settle_model
from streamcam.runtime.broadcast import BroadcastLoop
from streamcam.runtime.startup_check import check_startup
from streamcam.settings.aliases import sink_specs
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.environment import web_token
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import load_preset
from streamcam.sinks.sink_table import is_sink_kind, open_file_sink
from streamcam.sinks.sink_table import open_sink as open_live_sink
from streamcam.sinks.snapshot import SnapshotWriter
from streamcam.sources.source_table import is_source_kind, open_file_source
from streamcam.sources.source_table import open_source as open_live_source
from streamcam.stats import Status
from streamcam.system.network import is_loopback, network_host, page_url
from streamcam.system.paths import expanded
from streamcam.system.web_tokens import WebLinks, WebTokens
from streamcam.types import BroadcastView, Frame, Image, Sink, Source

log = logging.getLogger("streamcam")

Settings = Mapping[str, Any]


def make_config(*, presets: Sequence[str] = (), **settings: Any) -> Config:
    """Return the Config of presets and settings, later ones winning.

    Args:
        presets: names of presets, or paths of TOML files.
        settings: any settings, live ones too, by the names in ``docs/settings.md``.

    Raises:
        ConfigError: a name is unknown or a value is refused; the message names the remedy.
    """
    return build_config([*map(load_preset, presets), settings])


class ControlledStream:
    """A loaded model as a function from frames to frames, whose parameters may change at any time.

    Made by `open_stream`. Frames go in one at a time and come out in order, each as its own
    output, but possibly some calls later (Stream Batch); `flush` returns what is still inside.
    Call it from one thread; `update` may be called from any.
    """

    def __init__(self, stream: LoadedStream, config: Config) -> None:
        self.config = config
        self._stream = stream
        self._control = Control(config)
        self._count = 0

    @property
    def parameters(self) -> Parameters:
        """The newest parameters."""
        return self._control.parameters

    def __call__(self, frame: Frame | Image) -> Sequence[Frame]:
        """Run one frame, or one ``(H, W, 3)`` uint8 RGB image of any size.

        Returns:
            The outputs that are due now, none or several, at the model's size.
        """
        if isinstance(frame, np.ndarray):
            frame = Frame(frame, self._count, time.monotonic())
        self._count += 1
        parameters = self._control.advance()
        image = oriented(frame.image, parameters.rotate, mirror=parameters.mirror)
        return self._stream(replace(frame, image=image), parameters)

    def update(self, *, over: float | None = None, **changes: Any) -> Parameters:
        """Change parameters from the next frame on, such as ``prompt="oil painting"``.

        Args:
            over: seconds to fade over; by default ``prompt_time`` for prompts, else 0.
            changes: live parameters by name.

        Raises:
            ParameterError: one of them is refused, and none was applied.
        """
        return self._control.change(changes, over=over)

    def flush(self) -> Sequence[Frame]:
        """Return the outputs of the frames still inside; the stream then starts again."""
        return self._stream.drain(self._control.parameters)


def open_stream(
    config: Config | None = None,
    *,
    report: Callable[[str], None] = log.info,
    **settings: Any,
) -> ControlledStream:
    """Load a model and return the stream that runs it in this process.

    Args:
        config: the settings, if you have them already.
        report: takes a line of progress at a time while the model loads.
        settings: as for `make_config`, such as ``model="nano", prompt="pencil sketch"``.

    Raises:
        StreamcamError: a setting, a model or a device is missing or does not fit.
    """
    config, _ = settle_model(_configured(config, settings))
    stream = load_stream(config, report)
    stream.warm_up()
    return ControlledStream(stream, config)


def open_source(spec: str | Path = "auto", *, paced: bool = False, **settings: Any) -> Source:
    """Return a source of frames; enter it (``with``) and iterate over it.

    Args:
        spec: ``camera``, ``camera:NAME``, ``demo``, ``pattern``, a URL, a kind that a plugin
            adds, or the path of a video, an image, a folder of images or a ``.npy``; ``auto``
            is the first camera, else ``demo``.
        paced: play a file as fast as its frame rate says; else every frame comes at once.
        settings: ``camera_size``, ``camera_fps``, ``canvas``, ``fps``, ``loop`` and the like.

    Raises:
        ConfigError: `spec` names no kind of source.
        MediaError: the file is missing, or cannot be read.
    """
    config = _configured(None, {**settings, "source": str(spec)})
    path = expanded(spec)
    if not paced and not is_source_kind(str(spec)) and path.exists():
        return open_file_source(path, Fraction(config.broadcast.rate))
    config, _ = settle(config)
    return open_live_source(config.broadcast.source, config.broadcast)


def open_sink(
    spec: str | Path = "virtual-camera", *, overwrite: bool = False, **settings: Any
) -> Sink:
    """Return a sink; enter it (``with``) and send it frames, of any size.

    Args:
        spec: ``virtual-camera``, ``virtual-camera:LABEL``, ``null``, a kind that a plugin adds,
            or the path of a video, an image, a folder or a ``.npy`` to write. ``obs``, ``v4l2`` and
            ``/dev/video10`` name the virtual camera too, unless a folder is called so.
        overwrite: replace an existing file once the new one is complete.
        settings: ``canvas``, ``canvas_fit``, ``fps``, ``pixel_format`` and the like.

    Raises:
        ConfigError: `spec` names no kind of sink, or one that only a `Broadcast` can feed.
        MediaError: the file cannot be written there, or exists.
    """
    broadcast = _configured(None, settings).broadcast
    if isinstance(spec, str) and not expanded(spec).is_dir():
        (spec,) = sink_specs((spec,))
    if not is_sink_kind(str(spec)):
        rate = Fraction(broadcast.rate)
        return open_file_sink(expanded(spec), rate, overwrite=overwrite)
    sink = open_live_sink(str(spec), broadcast, None)
    return _CanvasSink(sink, broadcast.canvas, broadcast.canvas_fit)


class _CanvasSink:
    """Fits every frame to the canvas that a live sink expects."""

    def __init__(self, sink: Sink, canvas: tuple[int, int], fit: str) -> None:
        self._sink, self._canvas, self._fit = sink, canvas, fit

    def __enter__(self) -> Self:
        self._sink.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._sink.__exit__(*exception)

    def send(self, frame: Frame) -> None:
        image = fitted(frame.image, *self._canvas, self._fit)
        if image is not frame.image:
            frame = replace(frame, image=image, packed=None)
        self._sink.send(frame)


class Broadcast:
    """The whole daemon: source, model in a process of its own, sinks, OSC.

    ::

        if __name__ == "__main__":
            with streamcam.Broadcast(model="nano", prompt="pencil sketch") as broadcast:
                broadcast.update(prompt="oil painting", over=2.0)
                broadcast.wait(60)

    Viewers see a frame at every tick of the output's clock, whatever happens to the model. The
    guard around the main module is needed: the model's process imports it again.

    Args:
        config: the settings, if you have them already.
        settings: as for `make_config`.

    Raises:
        StreamcamError: a setting is refused, or the source, a sink or a port cannot be opened.
    """

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        self.config, self.choices = settle(_configured(config, settings))
        check_startup(self.config)
        self._control = Control(self.config)
        self._tokens = WebTokens(self.config.broadcast.web_token or _token_of_environment())
        source = open_live_source(self.config.broadcast.source, self.config.broadcast)
        self._loop = BroadcastLoop(self.config, self._control, source, self._sinks, self._tokens)
        broadcast = self.config.broadcast
        self._room = ControlRoom(
            self.config,
            self._control,
            self._loop.status,
            self._loop.latency_history,
            asks_for_token=self._tokens.is_fixed or not is_loopback(broadcast.web_bind),
        )
        self._loop.web_routes = self._room.web_routes
        self._room.surface.commands.bind("sink/retry", self._retry_sinks)
        self._stack = ExitStack()

    def _sinks(self, view: BroadcastView) -> Iterable[tuple[str, Sink]]:
        broadcast = self.config.broadcast
        for spec in broadcast.sink:
            yield spec, open_live_sink(spec, broadcast, view)
        folder = Path(broadcast.snapshots) if broadcast.snapshots else None
        yield "snapshots", SnapshotWriter(folder, view)

    def _retry_sinks(self, arguments: Sequence[Argument]) -> None:
        retry_sinks(arguments, self._loop.sink_names, self._loop.retry_sink)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._room)
            stack.enter_context(self._loop)
            stack.callback(release_ranks)
            stack.callback(self._room.ask_to_stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.close()

    @property
    def parameters(self) -> Parameters:
        """The newest parameters."""
        return self._control.parameters

    def update(self, *, over: float | None = None, **changes: Any) -> Parameters:
        """Change parameters on air; see `ControlledStream.update`."""
        return self._control.change(changes, over=over)

    def web_links(self) -> WebLinks | None:
        """Return the links with which the page is opened, with their tokens.

        None while there is no page, and where it asks for no token, as on loopback.
        """
        page, bind = self.status().page, self.config.broadcast.web_bind
        if page is None or (is_loopback(bind) and not self._tokens.is_fixed):
            return None
        port = urlsplit(page).port or 0
        return self._tokens.links(page_url(network_host(bind), port))

    @property
    def osc_port(self) -> int | None:
        """The UDP port of OSC, also where 0 took a free one; None without OSC."""
        return self._room.osc_port

    def status(self) -> Status:
        """Return frame rates, latencies, counts and the state of the engine and every sink."""
        return self._loop.status()

    @property
    def first_output_at(self) -> float | None:
        """Monotonic time at which the model's first output was there; None until then."""
        return self._loop.first_output_at

    def wait_until_sending(self, timeout_s: float) -> bool:
        """Wait until every sink has taken its first frame or has failed; return whether so."""
        return self._loop.wait_until_sending(timeout_s)

    def sending(self) -> set[str]:
        """Return the sinks that take frames, named as in the setting ``sink``."""
        return self._loop.sending() & set(self.config.broadcast.sink)

    def waiting(self) -> list[str]:
        """Return the sinks that have neither taken a frame nor failed so far."""
        return self._loop.waiting()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the broadcast is over; return whether it is.

        Raises:
            StreamcamError: it cannot go on, since the model cannot be used.
        """
        over = self._loop.over.wait(timeout_s)
        if self._loop.failed:
            raise self._loop.failed
        return over


def _token_of_environment() -> str | None:
    """Return the token for the page in the environment; raise ConfigError for one that is none."""
    place = {"web_token": "in STREAMCAM_WEB_TOKEN"}
    return BroadcastSettings.parse(
        {"web_token": web_token()}, place=lambda name: place.get(name, "")
    ).web_token


def _configured(config: Config | None, settings: Settings) -> Config:
    if config is not None and settings:
        raise ConfigError("give a config or settings, not both")
    return config or make_config(**settings)
