"""Build engines in another process, while the output goes on."""

import subprocess
from collections.abc import Iterator

from streamcam.child_process import start_child
from streamcam.errors import EngineError
from streamcam.settings.config import Config


def build_in_child(main: str, config: Config) -> Iterator[str]:
    """Build the engines of `config` in another process, at low priority; yield its progress.

    Args:
        main: ``package.module:function`` that builds them, told `config` as a line of JSON.
        config: the settings of the stream that needs them.

    Raises:
        EngineError: that process failed, with its exit status.
    """
    process = start_child(
        main, config.model_dump_json(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    with process:
        # Its input stays open until here: the other process ends when this one is gone.
        for line in process.stdout:
            yield line.rstrip()
    if process.returncode:
        raise EngineError(f"building engines ended with status {process.returncode}")
