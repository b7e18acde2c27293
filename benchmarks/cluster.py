"""Streams on a Ray cluster of four nodes on this machine: ``python -m benchmarks.cluster``.

A row for 1, 2, 4 and 8 broadcasts of nano: the latency of their outputs, and the frames of all of
them. Then the node with the most streams is killed, and a row for each stream says for how long it
had no output of the model, and for how long the broadcast itself ever sent nothing.

Other numbers of streams may be given, and ``identity``, an engine that returns what it gets.
"""

import itertools
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import psutil

from streamcam.bench.broadcast_overhead import pattern_source
from streamcam.control.state import Control
from streamcam.runtime.broadcast import BroadcastLoop
from streamcam.runtime.cluster.pool_client import THIS_MACHINE, ask_pool
from streamcam.runtime.engine_elsewhere import with_engine_elsewhere
from streamcam.runtime.engine_process import RUNNING
from streamcam.runtime.engine_worker import IDENTITY
from streamcam.settings.config_layers import build_config
from streamcam.types import BroadcastView, Frame, Sink

COUNTS = (1, 2, 4, 8)
NODES, ROOM = 4, 3
"""Nodes, and engines that each has room for."""
SECONDS = 10.0
AFTER_S = 20.0
"""Seconds that are watched after a node is lost."""
SIZE = 128
FPS = 10.0
START_S = 300.0
OBJECT_STORE = 80_000_000


class Output(NamedTuple):
    """A frame that a broadcast has sent."""

    at: float
    age_s: float
    is_new: bool
    """Whether the model has made it since the last one."""


class Outputs:
    """Sink that notes all that is sent."""

    def __init__(self) -> None:
        self.sent: list[Output] = []
        self._last = -1

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def send(self, frame: Frame) -> None:
        now = time.monotonic()
        is_new = frame.index >= 0 and frame.index != self._last
        self._last = frame.index
        self.sent.append(Output(now, now - frame.captured_at, is_new))


def broadcast(address: str, model: str, connection: Connection) -> None:
    """Broadcast in this process; send the outputs since the last time whenever asked."""
    side = f"{SIZE}x{SIZE}"
    size = {"model": model, "width": SIZE, "height": SIZE, "canvas": side, "fps": FPS}
    # On hold, what is new was made by the model.
    given = {"engine": address, "sink": "null", "on_engine_loss": "hold", "prompt": "oil painting"}
    config = with_engine_elsewhere(build_config([{**size, **given}]))
    outputs = Outputs()

    def sinks(_: BroadcastView) -> Iterable[tuple[str, Sink]]:
        return [("outputs", outputs)]

    with BroadcastLoop(config, Control(config), pattern_source(config), sinks) as loop:
        assert loop.engine
        end = time.monotonic() + START_S
        while loop.engine.state != RUNNING:
            if loop.failed:
                raise loop.failed
            if time.monotonic() > end:
                raise TimeoutError(f"the engine is {loop.engine.state}")
            time.sleep(0.05)
        connection.send("running")
        while connection.recv() == "outputs":
            sent, outputs.sent = outputs.sent, []
            connection.send(sent)


class Stream:
    """A broadcast in a process of its own."""

    def __init__(self, address: str, model: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=broadcast, args=(address, model, theirs))
        self._process.start()
        theirs.close()

    def wait(self) -> None:
        """Wait until its engine runs."""
        self._connection.recv()

    def outputs(self) -> list[Output]:
        """Return what it has sent since the last call."""
        self._connection.send("outputs")
        sent: list[Output] = self._connection.recv()
        return sent

    def close(self) -> None:
        """End it."""
        with suppress(OSError):
            self._connection.send("end")
        self._connection.close()
        self._process.join(20)
        self._process.kill()


def row(streams: list[Stream], seconds: float) -> dict[str, Any]:
    """Return the figures of all streams over so many seconds."""
    for stream in streams:
        stream.outputs()
    time.sleep(seconds)
    new = [[o for o in stream.outputs() if o.is_new] for stream in streams]
    ages = sorted(1000 * output.age_s for outputs in new for output in outputs)
    return {
        "streams": len(streams),
        "p50_ms": round(statistics.median(ages)),
        "p95_ms": round(ages[int(0.95 * len(ages))]),
        "fps": round(len(ages) / seconds, 1),
        "least_fps": round(min(map(len, new)) / seconds, 1),
    }


def places() -> list[dict[str, Any]]:
    """Return the places of the pool."""
    found: list[dict[str, Any]] = ask_pool(THIS_MACHINE, "status")["places"]
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, which takes a while to ask."""
    end = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the cluster does not settle")
        time.sleep(5)  # Asking takes a second of a core.


def has_spares() -> bool:
    """Return whether loaded engines elsewhere have room for all streams of any node."""
    found = places()
    by_node: dict[str, int] = {}
    for place in found:
        by_node[place["node"]] = by_node.get(place["node"], 0) + len(place["streams"])
    spare = sum(not place["streams"] for place in found)
    full = len(found) == NODES * ROOM
    return all(p["state"] == "running" for p in found) and (spare >= max(by_node.values()) or full)


def memory(nodes: Iterable[Any]) -> float:
    """Return the gigabytes that the processes of `nodes` have for themselves."""
    families = (family(node) for node in nodes)
    return sum(process.memory_full_info().uss for each in families for process in each) / 1e9


def family(node: Any) -> list[psutil.Process]:
    """Return all processes of a node."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [raylet, *raylet.children(recursive=True)]


def lose_node(cluster: Any, node: Any, streams: list[Stream]) -> list[dict[str, Any]]:
    """Kill all processes of `node` at once; return what became of the streams that notice."""
    for stream in streams:
        stream.outputs()
    time.sleep(2)
    lost_at = time.monotonic()
    for process in family(node):
        process.kill()
    cluster.remove_node(node, allow_graceful=False)
    time.sleep(AFTER_S)
    rows = []
    for number, stream in enumerate(streams):
        sent = stream.outputs()
        new = [output.at for output in sent if output.is_new]
        gaps = [(b - a, b) for a, b in itertools.pairwise(new) if b > lost_at]
        away_s, back_at = max(gaps)
        ticks = [b.at - a.at for a, b in itertools.pairwise(sent)]
        rows.append(
            {
                "stream": number + 1,
                "without_model_s": round(away_s, 2),
                "back_after_s": round(back_at - lost_at, 2) if away_s > 1 else 0.0,
                "longest_gap_between_outputs_ms": round(1000 * max(ticks)),
                "new_outputs_after": sum(at > back_at for at in new),
            }
        )
    return rows


def main() -> None:
    """Print a row for each number of streams, then one for each stream after a node was lost."""
    from ray.cluster_utils import Cluster

    # Else Ray gives engines the lowest priority, on nodes that here are one machine with the rest.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    counts = [int(word) for word in sys.argv[1:] if word.isdecimal()] or COUNTS
    model = IDENTITY if IDENTITY in sys.argv else "nano"
    options = {"object_store_memory": OBJECT_STORE}
    head = {"num_cpus": 0, "include_dashboard": False, **options}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    streams: list[Stream] = []
    try:
        nodes = [cluster.add_node(num_cpus=ROOM, **options) for _ in range(NODES)]
        os.environ["RAY_ADDRESS"] = cluster.address
        for count in counts:
            started = [Stream(THIS_MACHINE, model) for _ in range(count - len(streams))]
            streams += started
            for stream in started:
                stream.wait()
            wait_for(has_spares)
            figures = row(streams, SECONDS) | {"engines": len(places())}
            print(json.dumps(figures | {"gigabytes": round(memory(nodes), 1)}), flush=True)
        by_node: dict[str, int] = {}
        for place in places():
            by_node[place["node"]] = by_node.get(place["node"], 0) + len(place["streams"])
        print(json.dumps({"streams_by_node": sorted(by_node.values())}), flush=True)
        fullest = max(by_node, key=lambda node: by_node[node])
        node = next(node for node in nodes if node.node_id == fullest)
        for lost in lose_node(cluster, node, streams):
            print(json.dumps(lost), flush=True)
        ask_pool(THIS_MACHINE, "stop")
    finally:
        for stream in streams:
            stream.close()
        cluster.shutdown()


if __name__ == "__main__":
    main()
