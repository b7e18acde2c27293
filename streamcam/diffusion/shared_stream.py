"""Streams that share one model, each for a client of its own."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.shared_model import SharedModel
from streamcam.diffusion.stream import DiffusionStream
from streamcam.errors import ConfigError
from streamcam.frames import frame_transfer
from streamcam.settings.config import OFF, Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame

FIRST_CALLS_S = 600.0
"""Seconds that streams wait for each other in their first calls, which may build engines."""


def load_shared_streams(
    config: Config, report: Callable[[str], None], count: int
) -> "list[SharedStream]":
    """Return `count` streams of one model, to be called each from a thread of its own.

    Raises:
        ConfigError: a setting steers a call as a whole, not row by row.
        StreamcamError: as `load_image_model` does.
    """
    if not_shared := _not_shared(config):
        raise ConfigError(
            f"several streams in one call cannot run with {', '.join(not_shared)}: leave that out,"
            " or give each client an engine of its own"
        )
    # In this process, as the one that builds them knows of one stream's shapes alone.
    model = load_image_model(config, report, builds_here=True)
    shared = SharedModel(model, count, wait_s=1 / config.broadcast.fps)
    return [SharedStream(shared, config, number) for number in range(count)]


def _not_shared(config: Config) -> list[str]:
    """Return the settings in use that steer a call as a whole, or more than its rows."""
    in_use = {
        "cross_frame_attention": config.cross_frame_attention,
        "temporal_memory": config.temporal_memory != OFF,
        "region_mask": config.region_mask != OFF,
        "controlnet": config.controlnet,
        "ip_adapter": config.ip_adapter,
        "live_loras": config.lora and not config.fuses_loras,
    }
    return [name for name, used in in_use.items() if used]


class SharedStream:
    """A `DiffusionStream` whose calls of the model run together with those of others."""

    def __init__(self, shared: SharedModel, config: Config, number: int) -> None:
        model = shared.model_of(number)
        transfer = frame_transfer(config, model.device, on_air=True)
        self._stream = DiffusionStream(model, config, transfer)
        self.chunk = self._stream.chunk
        self.counts: Counter[str] = self._stream.counts
        """How many frames were ``processed`` and ``skipped``."""
        self.shared = shared
        self._number = number
        self.config = config

    @property
    def notice(self) -> str:
        return self._stream.notice

    @property
    def accepts_any_size(self) -> bool:
        return self._stream.accepts_any_size

    @property
    def is_settled(self) -> bool:
        return self._stream.is_settled

    def warm_up(self) -> None:
        """Make the first calls; others that do so at the same time make them together."""
        with self.shared.frame(self._number):
            self._stream.warm_up()

    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
        with self.shared.frame(self._number):
            outputs: list[Frame] = self._stream(frame, parameters)
            return outputs

    def drain(self, parameters: Parameters) -> list[Frame]:
        with self.shared.frame(self._number):
            outputs: list[Frame] = self._stream.drain(parameters)
            return outputs


def warm_up_together(streams: "list[SharedStream]") -> None:
    """Make the first calls of every size that there will be, each with so many streams at once.

    Raises:
        Exception: whatever the first calls of a stream raise.
    """
    shared = streams[0].shared
    on_air, shared.wait_s = shared.wait_s, FIRST_CALLS_S
    for size in shared.sizes:
        shared.expect(size)
        with ThreadPoolExecutor(size) as threads:
            calls = [threads.submit(stream.warm_up) for stream in streams[:size]]
        for call in calls:
            call.result()
    shared.wait_s = on_air
