"""Prepare a stream beside the one on air: build its engines at the lowest priority.

A process cannot raise its own priority again, so another one does the work. It leaves the engines
in the store and the record of a quick start, and the engine process then loads in seconds.
"""

import os
import sys

from streamcam.engines.build_process import build_in_child
from streamcam.errors import EngineError, StreamcamError
from streamcam.pipelines import Report, load_stream
from streamcam.runtime.device_presence import device_kind
from streamcam.settings.config import Config
from streamcam.system.child_process import end_with_parent, prefer_as_oom_victim

MAIN = "streamcam.runtime.engine_preparation:serve"
NICENESS = 19
OOM_SCORE = 250
"""Above that of the engine process that waits for it."""


def prepare(config: Config, report: Report) -> None:
    """Build what a stream of `config` needs, in another process, and wait for it.

    On a GPU only its memory is checked: its time has no priorities, and its engines are built by a
    process of their own.

    Raises:
        StreamcamError: the stream cannot be loaded, has no room, or the process has failed.
    """
    if device_kind(config.device) != "cpu":
        _check_room(config)
        return
    line = ""
    try:
        for line in build_in_child(MAIN, config):
            report(line)
    except EngineError as error:
        raise EngineError(f"{error}: {line}" if line else str(error)) from None


def serve() -> None:
    """Run as the child process: read the settings from a line of standard input, load and end."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    # One thread leaves the other cores to the stream on air.
    on_air = {"threads": 1, "engine_wait": True, "warmup": 1}
    config = Config.model_validate_json(sys.stdin.readline()).model_copy(update=on_air)
    end_with_parent(sys.stdin.read, status=1)
    prefer_as_oom_victim(OOM_SCORE)
    try:
        _check_room(config)
        load_stream(config, _print_line, live=True).warm_up()
    except StreamcamError as error:
        _print_line(str(error))
        sys.exit(error.exit_code)


def _check_room(config: Config) -> None:
    from streamcam.diffusion.memory_need import check_room

    check_room(config)


def _print_line(line: str) -> None:
    print(line, flush=True)
