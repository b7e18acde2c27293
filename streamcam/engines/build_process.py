"""Build engines in a child process, while the stream runs."""

import subprocess
from collections.abc import Iterator

from streamcam.child_process import start_child
from streamcam.errors import EngineError
from streamcam.settings.config import Config


def build_in_child(main: str, config: Config) -> Iterator[str]:
    """Build the engines of `config` in a child process at low priority; yield its output lines.

    Args:
        main: ``package.module:function`` that builds them; it reads `config` from its standard
            input, as a line of JSON.
        config: the settings of the stream that needs the engines.

    Raises:
        EngineError: the child failed, with its exit status.
    """
    process = start_child(
        main, config.model_dump_json(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    with process:
        # Its input stays open until here: the child ends when this process is gone.
        for line in process.stdout:
            yield line.rstrip()
    if process.returncode:
        raise EngineError(f"building engines ended with status {process.returncode}")
