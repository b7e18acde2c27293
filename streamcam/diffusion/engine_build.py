"""Build every engine that a stream needs, in a process of its own or in this one."""

import os
import sys

from streamcam.child_process import end_with_parent
from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.errors import StreamcamError
from streamcam.models.families import Report
from streamcam.settings.config import Config

NICENESS = 10


def build_engines(config: Config, report: Report, loading: Report) -> None:
    """Have every engine that a stream of `config` will need in the store.

    `report` is told how that goes, `loading` how the model is loaded.

    Raises:
        StreamcamError: the model cannot be loaded, or the acceleration cannot run here.
    """
    config = config.model_copy(update={"warmup": 1})
    loaded = False
    models = load_image_model(
        config, lambda line: report(line) if loaded else loading(line), builds_here=True
    )
    loaded = True
    DiffusionStream(models, config).warm_up()


def serve() -> None:
    """Be the other process: take the settings from a line of standard input, and build."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    # One thread leaves the other cores to the picture; engines do not depend on how many.
    config = Config.model_validate_json(sys.stdin.readline()).model_copy(update={"threads": 1})
    end_with_parent(sys.stdin.read, status=1)
    try:
        build_engines(config, _tell, loading=lambda _: None)
    except StreamcamError as error:
        _tell(str(error))
        sys.exit(error.exit_code)


def _tell(line: str) -> None:
    print(line, flush=True)
