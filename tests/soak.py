"""Find leaks in a long broadcast with changing prompts: ``make soak``.

Runs streamcam as a process with a model, a preview with one viewer and a recorder, changes the
prompt and other live values twice a second over OSC, and measures memory, file descriptors, threads
and latency. The medians of the first and the last quarter are compared.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil
from pythonosc.udp_client import SimpleUDPClient

OSC_PORT, PREVIEW_PORT = 9177, 8177
WORDS = [
    "neon",
    "pencil",
    "oil",
    "forest",
    "sea",
    "glass",
    "gold",
    "night",
    "rain",
    "paper",
    "stone",
    "fire",
    "snow",
    "silk",
]
MB = 2**20
LIMITS = {"memory, broadcast (MB)": 16, "memory, engine (MB)": 32, "descriptors": 4, "threads": 4}
"""Allowed growth of the median from the first to the last quarter."""
LATENCY_GROWTH = 1.25


@dataclass(frozen=True, slots=True)
class Sample:
    """Figures of a running streamcam at one time."""

    figures: dict[str, float]

    @classmethod
    def take(cls, process: psutil.Process, engine: psutil.Process) -> "Sample":
        with urlopen(f"http://127.0.0.1:{PREVIEW_PORT}/stats", timeout=10) as response:
            status = json.load(response)
        return cls(
            {
                "memory, broadcast (MB)": process.memory_info().rss / MB,
                "memory, engine (MB)": engine.memory_info().rss / MB,
                "descriptors": process.num_fds() + engine.num_fds(),
                "threads": process.num_threads() + engine.num_threads(),
                "latency, median (ms)": 1e3 * status["latency_p50"],
                "latency, 95% (ms)": 1e3 * status["latency_p95"],
                "fps out": status["fps_out"],
                "fps of the model": status["fps_model"],
                "restarts": status["restarts"],
            }
        )


def steer(stop: threading.Event) -> None:
    """Change live values as an operator does, twice a second."""
    client, rng = SimpleUDPClient("127.0.0.1", OSC_PORT), random.Random(1)
    while not stop.wait(0.5):
        client.send_message("/streamcam/prompt", " ".join(rng.sample(WORDS, 4)))
        client.send_message("/streamcam/strength", rng.uniform(0.2, 0.9))
        client.send_message("/streamcam/seed", rng.randrange(10_000))
        client.send_message("/streamcam/prompt/time", rng.choice([0.0, 0.3]))
        if rng.random() < 0.1:
            client.send_message("/streamcam/reset", 1)


def watch(stop: threading.Event) -> None:
    """Read the preview's output stream, as a viewer does."""
    with urlopen(f"http://127.0.0.1:{PREVIEW_PORT}/after.mjpg", timeout=10) as stream:
        while not stop.is_set():
            stream.read1()


def soak(minutes: float, model: str, folder: Path) -> list[Sample]:
    """Broadcast for `minutes`; return a sample for every two seconds."""
    options = ["--source", "pattern", "--model", model, "--width", "256", "--height", "256"]
    options += ["--sink", "preview", "--sink", f"recorder:{folder / 'soak.mkv'}", "--sink", "null"]
    options += ["--preview-port", str(PREVIEW_PORT), "--osc-port", str(OSC_PORT)]
    options += ["--t-index-list", "35,45", "--set", "similar_image_filter_threshold=0.999"]
    command = [sys.executable, "-m", "streamcam", "run", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while "the engine is running" not in run.stderr.readline():
            assert run.poll() is None, "streamcam has ended"
        threading.Thread(target=run.stderr.read, daemon=True).start()
        process = psutil.Process(run.pid)
        [engine] = [p for p in process.children() if "spawn_main" in " ".join(p.cmdline())]
        stop = threading.Event()
        for target in (steer, watch):
            threading.Thread(target=target, args=(stop,), daemon=True).start()
        time.sleep(30)  # Caches fill, the allocator settles.
        samples, end = [], time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            samples.append(Sample.take(process, engine))
            time.sleep(2)
        stop.set()
        run.terminate()
        assert run.wait(10) == 0
    return samples


def table(samples: list[Sample], minutes: float, model: str) -> tuple[str, bool]:
    """Return the figures as Markdown, and whether all are within their limits."""
    quarter = max(1, len(samples) // 4)
    lines = [
        f"{minutes:g} minutes, `{model}` at 256x256, prompts and seeds changed twice a second over"
        " OSC, preview watched, recorder on.",
        "",
        "| | first quarter | last quarter |",
        "|---|---|---|",
    ]
    steady = True
    for name in samples[0].figures:
        first, last = (
            statistics.median(s.figures[name] for s in part)
            for part in (samples[:quarter], samples[-quarter:])
        )
        lines.append(f"| {name} | {first:.1f} | {last:.1f} |")
        if name in LIMITS:
            steady &= last - first <= LIMITS[name]
        if name.startswith("latency"):
            steady &= last <= LATENCY_GROWTH * first + 5
        if name == "restarts":
            steady &= last == 0
    return "\n".join(lines) + "\n", steady


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--model", default="random:tiny-sd-turbo")
    parser.add_argument("--write", type=Path, help="Markdown file for the figures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples = soak(args.minutes, args.model, Path(folder))
    text, steady = table(samples, args.minutes, args.model)
    print(text)
    if args.write:
        args.write.write_text(f"# Soak\n\n{text}", encoding="utf-8")
    sys.exit(0 if steady else "a figure grew beyond its limit, or the engine restarted")


if __name__ == "__main__":
    main()
