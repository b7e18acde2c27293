"""Engines built ahead: here, or by a process of its own while the picture goes on."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from streamcam.engines.placement import place, timings_key
from streamcam.engines.selection import FASTEST
from streamcam.engines.store import Store
from streamcam.engines.timings import save_timings
from streamcam.errors import EngineError, StreamcamError
from streamcam.models.families import Report
from streamcam.settings.config import Config

SCRIPT = "from streamcam.diffusion.engine_build import serve; serve()"
NICENESS = 10
ROUNDS = 21
LEVELS = (0, 85, 170, 255)
"""Of the pictures that engines are measured on, no two alike for the similarity filter."""


def build_engines(config: Config, report: Report, loading: Report) -> None:
    """Have every engine that a stream of `config` will need in the store.

    `report` is told how that goes, `loading` how the model is loaded.

    Raises:
        StreamcamError: the model cannot be loaded, or the acceleration cannot run here.
    """
    from streamcam.diffusion.image_model import load_image_model
    from streamcam.diffusion.stream import DiffusionStream

    config = config.model_copy(update={"warmup": 1})
    loaded = False
    models = load_image_model(
        config, lambda line: report(line) if loaded else loading(line), builds_here=True
    )
    loaded = True
    DiffusionStream(models, config).warm_up()


def measure_engines(config: Config, report: Report) -> None:
    """Have every engine that ``auto`` may take in the store, and which is the fastest.

    They take turns at the whole stream, with as many threads as on air.

    Raises:
        StreamcamError: no engine runs here, or the store cannot be written to.
    """
    from streamcam.bench.engine_comparison import Comparison

    device, dtype, _ = place(config)
    names = FASTEST.get(device.type, ())
    cores = os.cpu_count() or 1
    changes = {"threads": config.threads or max(1, cores - 1), "warmup": 1}
    scene = [np.full((config.height, config.width, 3), level, np.uint8) for level in LEVELS]
    told = config.model_copy(update=changes)
    comparison = Comparison(told, scene, rounds=ROUNDS, report=report)
    speeds = comparison.speeds(names)
    for why in comparison.left_out:
        report(f"left out: {why}")
    if not speeds:
        raise EngineError("no engine runs here; choose --acceleration eager")
    save_timings(Store(config.engine_dir), timings_key(config, device, dtype), speeds)
    report(str(place(config)))


def beside(config: Config) -> Iterator[str]:
    """Build engines in another process, at low priority; yield the lines that it says.

    Raises:
        EngineError: that process failed, with its last words.
    """
    process = started(SCRIPT, config)
    said: IO[str] = process.stdout  # type: ignore[assignment]
    with process:
        # Its input stays open until here: the other process ends when this one is gone.
        for line in said:
            yield line.rstrip()
    if process.returncode:
        raise EngineError(f"building engines ended with status {process.returncode}")


def started(script: str, config: Config) -> subprocess.Popen[str]:
    """Return another process that runs `script` and has `config` as a line on its input."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", script],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    given: IO[str] = process.stdin  # type: ignore[assignment]
    given.write(f"{config.model_dump_json()}\n")
    given.flush()
    return process


def environment() -> dict[str, str]:
    """Return the environment of another process that is to find the modules that this one does."""
    found = os.pathsep.join(path for path in sys.path if path)
    return os.environ | {"PYTHONPATH": found}


def serve() -> None:
    """Be the other process: take the settings from a line of standard input, and build."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    # One thread leaves the other cores to the picture; engines do not depend on how many.
    config = Config.model_validate_json(sys.stdin.readline()).model_copy(update={"threads": 1})
    threading.Thread(target=_die_with, args=(sys.stdin,), daemon=True).start()
    try:
        build_engines(config, _tell, loading=lambda _: None)
    except StreamcamError as error:
        _tell(str(error))
        sys.exit(error.exit_code)


def _tell(line: str) -> None:
    print(line, flush=True)


def _die_with(line: IO[Any]) -> None:
    """End this process, whatever it is doing, once the other end of `line` is gone."""
    line.read()
    os._exit(1)
