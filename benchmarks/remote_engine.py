"""Latency that an engine on another machine adds: ``python -m benchmarks.remote_engine``.

A broadcast of a moving pattern runs on an engine that returns every frame: in this machine's own
process, and behind `streamcam serve` with a relay that delays and loses packets in between.
"""

import asyncio
import itertools
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple

from benchmarks.lossy_relay import LossyRelay
from streamcam.bench.broadcast_overhead import pattern_source
from streamcam.control.state import Control
from streamcam.runtime.broadcast import BroadcastLoop
from streamcam.runtime.engine_elsewhere import with_engine_elsewhere
from streamcam.runtime.engine_process import RUNNING
from streamcam.runtime.engine_worker import IDENTITY
from streamcam.runtime.remote.shared_settings import for_clients
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.sources.pattern import MovingPattern
from streamcam.types import BroadcastView, Frame, Sink

TOKEN = "a-token-for-the-benchmark"
IDENTITY_ENGINE = {"model": IDENTITY, "width": 512, "height": 512, "sink": "null"}
"""Settings of an engine that returns every frame."""
SECONDS = 10.0


class Network(NamedTuple):
    """A network between performer and engine."""

    name: str
    delay_s: float
    """One way."""
    loss: float


NETWORKS = (
    Network("loopback", 0.0, 0.0),
    Network("5 ms, 1 % loss", 0.005, 0.01),
    Network("30 ms, 3 % loss", 0.03, 0.03),
)


class Ages:
    """Sink that takes when each new output came, and how old it was."""

    def __init__(self) -> None:
        self.outputs: list[tuple[float, float]] = []
        self._last = -1

    def __enter__(self) -> "Ages":
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def send(self, frame: Frame) -> None:
        now = time.monotonic()
        if frame.index != self._last and frame.index >= 0:
            self._last = frame.index
            self.outputs.append((now, now - frame.captured_at))


def serve(config: Config, connection: Connection) -> None:
    """Serve engines in this process; send the port."""
    from streamcam.runtime.remote.engine_server import EngineServer

    asyncio.run(EngineServer(for_clients(config), TOKEN, 1).run("127.0.0.1", 0, connection.send))


@contextmanager
def server(config: Config) -> Iterator[tuple[int, int]]:
    """Yield the port of a server in a process of its own, and that process's id."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(config, theirs))
    process.start()
    try:
        assert process.pid
        yield ours.recv(), process.pid
    finally:
        process.terminate()
        process.join(5)
        process.kill()


def performer(port: int) -> Config:
    """Return the config of a broadcast with the engine at `port`."""
    here = {"engine": f"127.0.0.1:{port}", "token": TOKEN, "sink": "null"}
    return with_engine_elsewhere(build_config([here]))


@contextmanager
def broadcast(
    config: Config, source: Callable[[Config], MovingPattern] = pattern_source
) -> Iterator[tuple[BroadcastLoop, Ages]]:
    """Yield a broadcast of `source` on air, and what measures its outputs."""
    ages = Ages()

    def sinks(_: BroadcastView) -> Iterable[tuple[str, Sink]]:
        return [("ages", ages)]

    with BroadcastLoop(config, Control(config), source(config), sinks) as loop:
        _wait(loop, RUNNING, 60)
        time.sleep(2)
        ages.outputs.clear()
        yield loop, ages


def _wait(loop: BroadcastLoop, state: str, seconds: float) -> None:
    assert loop.engine
    end = time.monotonic() + seconds
    while loop.engine.state != state:
        if loop.failed:
            raise loop.failed
        if time.monotonic() > end:
            raise TimeoutError(f"the engine is {loop.engine.state}, not {state}")
        time.sleep(0.005)


def row(name: str, outputs: Sequence[tuple[float, float]], seconds: float) -> dict[str, object]:
    """Return the figures of the outputs of so many seconds."""
    ages = sorted(1000 * age for _, age in outputs)
    gaps = [1000 * (b[0] - a[0]) for a, b in itertools.pairwise(outputs)]
    return {
        "network": name,
        "p50_ms": round(statistics.median(ages), 1),
        "p95_ms": round(ages[int(0.95 * len(ages))], 1),
        "longest_gap_ms": round(max(gaps)),
        "fps": round(len(ages) / seconds, 1),
    }


def outage(loop: BroadcastLoop, ages: Ages, relay: LossyRelay, seconds: float) -> dict[str, object]:
    """Return what an outage of the network does to the broadcast."""
    assert loop.engine
    began, relay.down = time.monotonic(), True
    _wait(loop, "lost", 30)
    noticed = time.monotonic() - began
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    relay.down, back = False, time.monotonic()
    ages.outputs.clear()
    _wait(loop, RUNNING, 60)
    while not ages.outputs:
        time.sleep(0.005)
    return {"noticed_s": round(noticed, 2), "back_s": round(time.monotonic() - back, 2)}


def main() -> None:
    """Print a row for each network, then one for an outage of ten seconds."""
    config = build_config([IDENTITY_ENGINE])
    with broadcast(config) as (_, ages):
        time.sleep(SECONDS)
    print(json.dumps(row("none, the engine is here", ages.outputs, SECONDS)), flush=True)
    with server(config) as (port, _):
        for network in NETWORKS:
            relay = LossyRelay(("127.0.0.1", port), network.delay_s, network.loss)
            with relay, broadcast(performer(relay.port)) as (loop, ages):
                time.sleep(SECONDS)
                print(json.dumps(row(network.name, ages.outputs, SECONDS)), flush=True)
                if network is NETWORKS[1] and "--outage" in sys.argv:
                    print(json.dumps(outage(loop, ages, relay, 10.0)), flush=True)


if __name__ == "__main__":
    main()
