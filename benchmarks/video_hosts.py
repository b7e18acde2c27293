"""Video over two hosts, one of which is lost and comes back: ``python -m benchmarks.video_hosts``.

The hosts are network namespaces, so it needs root. A row for each kind of loss: seconds until the
broadcast noticed, seconds from the host's return until the model's output was back, and the lowest
rate of outputs that viewers saw.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.network_hosts import Host, two_hosts, unavailable
from streamcam.system.process_guard import module_path

PORT = "29500"
MODEL = ["--pipeline", "video", "--model", "random:tiny-wan", "--device", "cpu"]
SIZE = ["--width", "64", "--height", "32", "--canvas", "320x180", "--fps", "20"]
STREAM = ["--source", "pattern", "--sink", "null", "--set", "osc=false", "--set", "steps=2"]
START_S = 120.0
STEADY_S = 15.0
"""Seconds on air before a loss: the first calls of an engine may take long."""


class HostsOnAir:
    """A broadcast on the first of two hosts, with half of its layers on the second.

    Args:
        hosts: the first one has the camera and the outputs.
        folder: for the logs.
    """

    def __init__(self, hosts: tuple[Host, Host], folder: Path) -> None:
        self.hosts = hosts
        self._logs = [folder / "first.log", folder / "second.log"]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, rank: int) -> None:
        """Start torchrun on one of the hosts, as docs/video.md says."""
        place = ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank)]
        meeting = ["--master-addr", self.hosts[0].address, "--master-port", PORT]
        program = ["-m", "streamcam", "run", *MODEL, *SIZE, *STREAM, "--log-json", "--no-browser"]
        words = [sys.executable, "-m", "torch.distributed.run", *place, *meeting, *program]
        variables = {"PYTHONPATH": module_path(), "OMP_NUM_THREADS": "1"}
        self._processes[rank] = self.hosts[rank].start(words, self._logs[rank], variables)

    def lose_power(self, rank: int) -> None:
        """Kill all that runs on one of the hosts."""
        self.hosts[rank].lose_power()
        self._processes.pop(rank).wait()

    def log(self, rank: int = 0) -> list[dict[str, Any]]:
        """Return the lines of the log of a host, those of streamcam itself."""
        text = self._logs[rank].read_text(encoding="utf-8", errors="replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def wait_for(self, words: str, since: float, rank: int = 0) -> float:
        """Wait for a line with `words`; return when it was logged, in seconds since the epoch."""
        end = time.time() + START_S
        while time.time() < end:
            for line in self.log(rank):
                if words in line["message"] and line["time"] >= since:
                    return float(line["time"])
            time.sleep(0.1)
        raise TimeoutError(f'no "{words}" in the log:\n{self._logs[rank].read_text()}')

    def lowest_rate(self, since: float) -> float:
        """Return the lowest rate of outputs in frames a second, as the status has it."""
        statuses = [line for line in self.log() if "status" in line and line["time"] > since]
        return min(float(line["status"]["fps_out"]) for line in statuses)


@contextmanager
def hosts_on_air() -> Iterator[HostsOnAir]:
    """Yield a broadcast that runs over two hosts."""
    with tempfile.TemporaryDirectory() as folder, two_hosts() as hosts:
        on_air, began = HostsOnAir(hosts, Path(folder)), time.time()
        on_air.start(0)
        on_air.start(1)
        on_air.wait_for("the engine is running", began)
        yield on_air


def kill(on_air: HostsOnAir, seconds: float) -> float:
    """Kill all on the second host and start torchrun there again later; return when."""
    on_air.lose_power(1)
    time.sleep(seconds)
    on_air.start(1)
    return time.time()


def unplug(on_air: HostsOnAir, seconds: float) -> float:
    """Take the second host's cable out, and put it in again later; return when."""
    on_air.hosts[1].plug(connected=False)
    time.sleep(seconds)
    on_air.hosts[1].plug(connected=True)
    return time.time()


def loss(
    on_air: HostsOnAir, lose: Callable[[HostsOnAir, float], float], seconds: float
) -> dict[str, float]:
    """Lose the second host for so long; return the figures."""
    time.sleep(STEADY_S)
    began = time.time()
    back = lose(on_air, seconds)
    noticed = on_air.wait_for("starting another engine", began)
    running = on_air.wait_for("the engine is running", noticed)
    return {
        "noticed_s": round(noticed - began, 1),
        "back_s": round(running - back, 1),
        "lowest_fps_out": round(on_air.lowest_rate(began), 1),
    }


LOSSES: Sequence[tuple[str, Callable[[HostsOnAir, float], float], float]] = (
    ("killed, started again after 5 s", kill, 5.0),
    ("cable out for 20 s", unplug, 20.0),
    ("cable out for 150 s", unplug, 150.0),
)


def main() -> None:
    """Print a row for each kind of loss."""
    if why := unavailable():
        raise SystemExit(why)
    with hosts_on_air() as on_air:
        for name, lose, seconds in LOSSES:
            print(json.dumps({"loss": name, **loss(on_air, lose, seconds)}), flush=True)


if __name__ == "__main__":
    main()
