"""Changes that are seen on the beat: a real broadcast of the coded test pattern, and its frames.

The model is replaced by one that takes a known time; camera, output, sinks and control are real.
"""

import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from statistics import median
from typing import Any, NamedTuple

import pytest

from streamcam.control.messages import Message
from streamcam.control.osc.server import OscServer
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.control.tempo.tempo_room import TempoRoom
from streamcam.runtime import broadcast, engine_on_air
from streamcam.runtime.engine_process import RUNNING
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.sources import frame_code
from streamcam.sources.pattern import MovingPattern
from streamcam.types import Frame
from tests.control.osc.running_server import Client, bundle, message
from tests.runtime.broadcast_helpers import RecordingSink, until

FPS = 50
TICK = 1 / FPS
MODEL_S = 0.13
"""Seconds that the model takes for a frame; it works on several at a time."""
SETTINGS = {"model": "identity", "width": 128, "height": 96, "canvas": "128x96", "fps": FPS}
SETTINGS |= {"bpm": 240, "quantise": "beat", "osc_port": 0, "detail": 0, "prompt": "0"}


class SlowModel:
    """Engine that gives every frame back after `MODEL_S`, with the prompt's number in a corner."""

    state, activity, schedule, notice, gpu = RUNNING, "", "", "", ""
    dropped = skipped = restarts = 0
    prompt_encoding = None

    def __init__(self, config: Config, *_callbacks: Any) -> None:
        self.config = config
        self.applied_parameters = (0, config.live)
        self._frames: deque[tuple[float, Frame]] = deque()

    def start(self) -> None:
        return

    def stop(self) -> None:
        return

    def has_read(self, _parameters: Parameters) -> bool:
        return True

    def offer(self, frame: Frame, parameters: Parameters) -> None:
        image = frame.image.copy()
        image[:4, :4] = int(parameters.prompt[0][0])
        output = Frame(image, frame.index, frame.captured_at)
        self._frames.append((time.monotonic() + MODEL_S, output))

    def outputs(self) -> list[Frame]:
        due = []
        while self._frames and self._frames[0][0] <= time.monotonic():
            due.append(self._frames.popleft()[1])
        return due

    def source_of(self, _output: Frame) -> None:
        return None


class OnAir(NamedTuple):
    """A broadcast, and what is needed to steer and watch it."""

    surface: ControlSurface
    room: TempoRoom
    server: OscServer
    sink: RecordingSink

    def seen_at(self, number: int) -> float:
        """Wait until the prompt `number` is on air; return since when, monotonic seconds."""
        until(lambda: self.sink.colour()[0] == number)
        frames = zip(self.sink.times, self.sink.frames, strict=False)
        return next(t for t, frame in frames if frame.image[2, 2, 0] == number)


@pytest.fixture(scope="module")
def on_air() -> Iterator[OnAir]:
    """Run a broadcast until its latency is known."""
    config = build_config([SETTINGS])
    control, sink = Control(config), RecordingSink()
    surface = ControlSurface(control, config, lambda _line: None)
    source = MovingPattern(128, 96, Fraction(FPS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_on_air, "EngineProcess", SlowModel)
        loop = broadcast.BroadcastLoop(config, control, source, lambda _: [("seen", sink)])
    with (
        loop,
        TempoRoom(surface, loop.status) as room,
        OscServer(surface, loop.status, lambda _line: None) as server,
    ):
        until(lambda: sum(frame.index >= 0 for frame in sink.frames) > 15)
        yield OnAir(surface, room, server, sink)


def test_a_quantised_change_is_seen_within_a_frame_of_the_beat(on_air: OnAir) -> None:
    off_s = []
    for number in range(1, 4):
        on_air.surface.apply([Message("/streamcam/prompt", (str(number),))], "a")
        grid = on_air.room.clock.grid()
        beat = grid.beat_at(on_air.seen_at(number))
        off_s.append((beat - round(beat)) * 60 / grid.bpm)
    # The median: another process may hold up a tick of this machine, but not most of them.
    assert abs(median(off_s)) <= TICK, off_s
    # It has not been luck: what is seen was in front of the camera about half a beat before.
    code = frame_code.read(on_air.sink.frames[-1].image)
    assert code
    assert on_air.sink.times[-1] - code[1] > MODEL_S


def test_a_bundle_is_seen_within_a_frame_of_its_time_tag(on_air: OnAir) -> None:
    off_s = []
    with Client(on_air.server.port) as client:
        for number in range(11, 14):
            due = time.time() + 0.22
            client.raw(bundle(message("/streamcam/prompt", str(number)), when=due))
            seen_s = time.time() - time.monotonic() + on_air.seen_at(number)
            off_s.append(seen_s - due)
    assert abs(median(off_s)) <= TICK, off_s
