"""Cost of a stream on the network and on processors: ``python -m benchmarks.stream_cost [IMAGE]``.

A broadcast of a test pattern, and one of the image, which pans, run on an engine elsewhere that
returns every frame. The main thread of the process that serves engines does all of QUIC, so its
time for a frame is the limit of how many streams one such process can serve.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import psutil

from benchmarks.lossy_relay import LossyRelay, Traffic
from benchmarks.remote_engine import IDENTITY_ENGINE, broadcast, performer, server
from streamcam.bench.broadcast_overhead import pattern_source
from streamcam.runtime.remote.wire import compressed
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.sources.pattern import MovingPattern
from streamcam.types import Image

SIDE = 512
ENGINE = build_config([IDENTITY_ENGINE])
SECONDS = 10.0
UDP_AND_IP = 28
"""Bytes of headers for each packet, by IPv4."""


class Usage(NamedTuple):
    """Processor time and memory of a process."""

    cpu_s: float
    loop_s: float
    """Of it, in the main thread."""
    memory: int
    """Bytes that no other process uses too."""


def usage(process: psutil.Process) -> Usage:
    """Return what `process` has used so far, without its children."""
    times = process.cpu_times()
    loop = sum(t.user_time + t.system_time for t in process.threads() if t.id == process.pid)
    return Usage(times.user + times.system, loop, process.memory_full_info().uss)


def traffic_row(name: str, traffic: Traffic, before: Traffic, seconds: float) -> dict[str, Any]:
    """Return the rates of what has come since `before`."""
    packets = traffic.packets - before.packets
    on_the_wire = traffic.payload - before.payload + packets * UDP_AND_IP
    return {
        "direction": name,
        "packets_a_second": round(packets / seconds),
        "megabits_a_second": round(8e-6 * on_the_wire / seconds, 2),
    }


class Panning(MovingPattern):
    """Source that pans over an image, round and round."""

    def __init__(self, image: Image, config: Config) -> None:
        super().__init__(*config.broadcast.canvas, config.broadcast.rate)
        self._image = cv2.resize(image, config.broadcast.canvas, interpolation=cv2.INTER_CUBIC)

    def image_at(self, index: int, now: float) -> Image:  # noqa: ARG002
        """Return frame `index`, ``(H, W, 3)`` uint8 RGB."""
        return np.roll(self._image, 4 * index, axis=1)


def measure_traffic(source: Callable[[Config], MovingPattern], loss: float) -> None:
    """Print what a broadcast sends and gets, at a share of lost packets."""
    with (
        server(ENGINE) as (port, _),
        LossyRelay(("127.0.0.1", port), 0.005, loss) as relay,
        broadcast(performer(relay.port), source) as (_, ages),
    ):
        both = relay.to_server, relay.to_client
        before = [Traffic(traffic.packets, traffic.payload) for traffic in both]
        time.sleep(SECONDS)
        for name, now, then in zip(("to the engine", "back"), both, before, strict=True):
            print(json.dumps({"loss": loss} | traffic_row(name, now, then, SECONDS)))
        print(json.dumps({"outputs_a_second": len(ages.outputs) / SECONDS}), flush=True)


def measure_processes(source: Callable[[Config], MovingPattern]) -> None:
    """Print the processor time and memory of each process that a stream needs."""
    with server(ENGINE) as (port, pid), broadcast(performer(port), source) as (_, ages):
        served = psutil.Process(pid)
        there = {served.pid, *(child.pid for child in served.children(recursive=True))}
        own = psutil.Process()
        links = [child for child in own.children() if child.pid not in there]
        groups = {"broadcast": [own], "link": links, "server": [served]}
        groups["engine"] = served.children()
        before = {name: [usage(each) for each in group] for name, group in groups.items()}
        ages.outputs.clear()
        time.sleep(SECONDS)
        frames = len(ages.outputs)
        for name, group in groups.items():
            after = [usage(each) for each in group]
            spent = sum(a.cpu_s - b.cpu_s for a, b in zip(after, before[name], strict=True))
            loop = sum(a.loop_s - b.loop_s for a, b in zip(after, before[name], strict=True))
            row = {
                "process": name,
                "ms_a_frame": round(1000 * spent / frames, 2),
                "main_thread_ms": round(1000 * loop / frames, 2),
                "megabytes": round(sum(each.memory for each in after) / 1e6),
                "frames": frames,
            }
            print(json.dumps(row), flush=True)


def read(path: str) -> Image:
    """Return the image in a file, as RGB."""
    image = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise SystemExit(f"{path} is no image that can be read")
    return np.asarray(image, np.uint8)


def main() -> None:
    """Print sizes of frames, traffic, and the time and memory of each process."""
    print(json.dumps({"processors": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}))
    drawn = MovingPattern(SIDE, SIDE, Fraction(30)).image_at(40, 0.0)
    sources: dict[str, tuple[Image, Callable[[Config], MovingPattern]]] = {
        "pattern": (drawn, pattern_source)
    }
    for path in sys.argv[1:]:
        image = read(path)
        square = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        sources[Path(path).name] = np.asarray(square, np.uint8), partial(Panning, image)
    for name, (image, source) in sources.items():
        sizes = {"jpeg": len(compressed(image)), "png": len(compressed(image, lossless=True))}
        print(json.dumps({"source": name} | sizes), flush=True)
        for loss in (0.0, 0.01):
            measure_traffic(source, loss)
        measure_processes(source)


if __name__ == "__main__":
    main()
