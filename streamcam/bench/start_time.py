"""Time from the start of a process to its first output, and its rate soon afterwards."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from streamcam.bench.harness import iter_frames
from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.errors import EngineError, StreamcamError
from streamcam.settings.config import Config
from streamcam.system.child_process import start_child

MAIN = "streamcam.bench.start_time:serve"
SOON_S, WINDOW_S = 5.0, 1.0
"""Seconds after the start at which the rate is measured, and for how long."""
BUILDING = "building the"
"""Beginning of the report that an engine is missing."""


@dataclass(frozen=True, slots=True)
class StartTime:
    """Seconds from the start of a process until it did something."""

    imported_s: float
    loaded_s: float
    """The model is on its device."""
    first_output_s: float
    fps_soon: float
    """Outputs per second, `SOON_S` after the start; 0 if there were none yet."""

    def values(self) -> dict[str, float | str]:
        """Return the figures by name, for a table."""
        return {
            "imported, s": self.imported_s,
            "loaded, s": self.loaded_s,
            "first output, s": self.first_output_s,
            f"fps after {SOON_S:.0f} s": self.fps_soon,
        }


def start_time(config: Config) -> StartTime:
    """Start a process that runs the stream of `config`, and return its times.

    Raises:
        EngineError: there was no output, or engines had to be built for it.
    """
    started_at = time.monotonic()
    message = json.dumps({"started_at": started_at, "config": config.model_dump_json()})
    process = start_child(MAIN, message, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process:
        assert process.stdout is not None
        answer = process.stdout.readline().strip()
    if not answer.startswith("{"):
        raise EngineError(f"second start: {answer or 'there was no output'}")
    return StartTime(**json.loads(answer))


def serve() -> None:
    """Run as the child: read the settings from standard input, print a `StartTime` as JSON."""
    message = json.loads(sys.stdin.readline())
    config = Config.model_validate_json(message["config"])
    try:
        print(json.dumps(asdict(_start(config, message["started_at"]))), flush=True)
    except StreamcamError as error:
        print(error, flush=True)


def _start(config: Config, started_at: float) -> StartTime:
    def elapsed() -> float:
        # The monotonic clock is one for all processes.
        return time.monotonic() - started_at

    imported_s = elapsed()
    stream = DiffusionStream(load_image_model(config, _refuse_to_build), config)
    loaded_s = elapsed()
    outputs: list[float] = []
    frames = iter_frames([np.full((config.height, config.width, 3), 127, np.uint8)])
    while not outputs or elapsed() < SOON_S + WINDOW_S:
        outputs += [elapsed()] * len(stream(next(frames), config.live))
    soon = sum(SOON_S <= second < SOON_S + WINDOW_S for second in outputs)
    return StartTime(imported_s, loaded_s, outputs[0], soon / WINDOW_S)


def _refuse_to_build(line: str) -> None:
    """End this process if `line` says that an engine is missing: that takes minutes."""
    if line.startswith(BUILDING):
        print(line, flush=True)
        os._exit(1)
