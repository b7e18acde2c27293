"""Cost of the control room: the model's frames and the output's ticks while many steer at once."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from streamcam.bench.broadcast_overhead import pattern_source, taken, wait_until_on_air
from streamcam.control.control_room import ControlRoom
from streamcam.control.messages import Message
from streamcam.control.state import Control
from streamcam.errors import StreamcamError
from streamcam.runtime.broadcast import BroadcastLoop
from streamcam.settings.config import Config
from streamcam.sinks.preview import Preview
from streamcam.types import BroadcastView, Frame, Sink

LATE = 1.5
"""Intervals after the one before from which a tick counts as late."""
SETTLE_S = 1.0
SHAPES = ("sine", "triangle", "square", "ramp", "random")


@dataclass(frozen=True, slots=True)
class ControlCost:
    """The model's frames per second and the late ticks, left alone and steered, in turns."""

    quiet_fps: float
    busy_fps: float
    quiet_late: int
    busy_late: int
    ticks: int
    """Ticks of the output in either of the two."""
    changes: float
    """Changes that were applied per second while it was steered."""
    modulators: int
    rounds: int

    @property
    def share(self) -> float:
        """Share of the model's frames that being steered costs."""
        return 1 - self.busy_fps / self.quiet_fps


class _TickProbe:
    """Sink that notes when each frame came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __enter__(self) -> "_TickProbe":
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def send(self, frame: Frame) -> None:  # noqa: ARG002
        self.times.append(time.monotonic())


def control_cost(config: Config, seconds: float, rounds: int) -> ControlCost:
    """Measure a broadcast of `config` alone and steered by pages, OSC and modulators, in turns.

    Args:
        config: the model and its settings; modulators run on every number that fades.
        seconds: for which each of the two is measured, each time.
        rounds: times that each is measured; the median of the rates counts.

    Raises:
        StreamcamError: the model cannot run, or the clients cannot.
    """
    broadcast_settings = config.broadcast.model_copy(update={"osc_port": 0, "mdns": False})
    config = config.model_copy(update={"broadcast": broadcast_settings})
    control, probe = Control(config), _TickProbe()
    previews: list[Preview] = []

    def sinks(view: BroadcastView) -> Iterator[tuple[str, Sink]]:
        previews.append(Preview("127.0.0.1", 0, view))
        yield "preview", previews[0]
        yield "ticks", probe

    loop = BroadcastLoop(config, control, pattern_source(config), sinks)
    room = ControlRoom(config, control, loop.status, loop.latency_history)
    loop.web_routes = room.web_routes
    with room, loop:
        wait_until_on_air(loop)
        assert loop.engine is not None
        fps: dict[bool, list[float]] = {False: [], True: []}
        late, ticks, changes = {False: 0, True: 0}, 0, 0
        names = [name for name in room.surface.addresses.commands.values() if _is_shape(name)]
        for _ in range(rounds):
            for busy in (False, True):
                with _steered(room, previews[0].url, names) if busy else _left_alone():
                    time.sleep(SETTLE_S)
                    probe.times.clear()
                    first, applied = taken(loop), room.changes
                    time.sleep(seconds)
                    fps[busy].append((taken(loop) - first) / seconds)
                    times = list(probe.times)
                    changes += (room.changes - applied) if busy else 0
                late[busy] += _late(times, 1 / float(config.broadcast.rate))
                ticks += len(times)
    return ControlCost(
        statistics.median(fps[False]),
        statistics.median(fps[True]),
        late[False],
        late[True],
        ticks // 2,
        changes / (seconds * rounds),
        len(names),
        rounds,
    )


def _is_shape(command: str) -> bool:
    return command.startswith("mod/") and command.endswith("/shape")


def _late(times: Sequence[float], interval: float) -> int:
    gaps = (after - before for before, after in pairwise(times))
    return sum(gap > LATE * interval for gap in gaps)


@contextmanager
def _left_alone() -> Iterator[None]:
    yield


@contextmanager
def _steered(room: ControlRoom, url: str, shapes: Sequence[str]) -> Iterator[None]:
    """Run the clients and the modulators meanwhile."""
    page = url.replace("http", "ws", 1) + "control"
    clients = subprocess.Popen(
        [sys.executable, "-P", "-m", "streamcam.bench.control_clients", page, str(room.osc_port)],
        stdin=subprocess.PIPE,
    )
    try:
        for number, name in enumerate(shapes):
            _send(room, name, SHAPES[number % len(SHAPES)])
            _send(room, name.replace("/shape", "/depth"), 0.2)
        yield
        if clients.poll() is not None:
            raise StreamcamError(f"the clients ended with exit code {clients.returncode}")
    finally:
        for name in shapes:
            _send(room, name, "off")
        clients.communicate()


def _send(room: ControlRoom, name: str, value: Any) -> None:
    room.surface.apply_at_once([Message(f"{room.surface.prefix}/{name}", (value,))], "bench")
