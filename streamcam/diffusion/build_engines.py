"""Build all engines that an image stream needs, in this process or as a child process."""

import os
import sys

from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.rehearsal import StreamRehearsal
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.build_progress import ThrottledProgress
from streamcam.engines.graphed_calls import GraphedCalls
from streamcam.errors import StreamcamError
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.system.child_process import end_with_parent, prefer_as_oom_victim

NICENESS = 10
OOM_SCORE = 250
"""Above that of the engine, which runs without what is built here."""


def build_engines(config: Config, report: Report, loading: Report, *, tunes: bool = False) -> None:
    """Build every engine that a stream of `config` needs and that is not in the store.

    Args:
        config: the settings of the stream.
        report: takes a line of progress on the engines at a time.
        loading: likewise, while the model is loaded.
        tunes: whether to search longer for fast kernels.

    Raises:
        StreamcamError: the model cannot be loaded, or the acceleration cannot run here.
    """
    config = config.model_copy(update={"warmup": 1})
    loaded = False
    models = load_image_model(
        config,
        lambda line: report(line) if loaded else loading(line),
        builds_here=True,
        tunes=tunes,
        rehearse=StreamRehearsal,
    )
    loaded = True
    # Plain calls: nothing is gained by recording what runs once.
    DiffusionStream(models._replace(graphs=GraphedCalls), config).warm_up()


def serve() -> None:
    """Run as the child process: read the settings from a line of standard input, and build."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    # One thread leaves the other cores to the running stream; engines are the same with any number.
    config = Config.model_validate_json(sys.stdin.readline()).model_copy(update={"threads": 1})
    end_with_parent(sys.stdin.read, status=1)
    prefer_as_oom_victim(OOM_SCORE)
    try:
        build_engines(config, ThrottledProgress(_print_line), loading=lambda _: None)
    except StreamcamError as error:
        _print_line(str(error))
        sys.exit(error.exit_code)


def _print_line(line: str) -> None:
    print(line, flush=True)
