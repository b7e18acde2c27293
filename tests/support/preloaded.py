"""Run ``streamcam`` in a process forked from one that has imported everything.

Importing torch and diffusers takes seconds, which most tests of a separate process do not test.
In all else the process is its own: signals, files, exit status.
"""

import multiprocessing
import os
import sys
from pathlib import Path

METHOD = "forkserver"
CONTEXT = multiprocessing.get_context(METHOD)
PRELOADED = (
    "diffusers.models.autoencoders.autoencoder_tiny",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl",
    "streamcam.cli.render",
    "streamcam.diffusion.stream",
    # For tests/video/rank_helpers.py: there is one server for all tests of a process.
    "tests.video.rank_helpers",
    "pytest",
)
CONTEXT.set_forkserver_preload(list(PRELOADED))


def start(
    words: list[str], errors: Path, output: Path | None = None
) -> multiprocessing.process.BaseProcess:
    """Start ``streamcam`` with `words`; its standard error and output go to files."""
    process = CONTEXT.Process(target=_run, args=(words, str(errors), output), daemon=True)
    process.start()
    return process


def _run(words: list[str], errors: str, output: Path | None) -> None:
    # The flag is for the tests, which end the process; it must not keep it from having children.
    multiprocessing.current_process().daemon = False
    # Before anything of streamcam asks what its terminal is.
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    if output:
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.argv = ["streamcam", *words]
    from streamcam.cli import main

    main()
