"""Folder that results are written to: checked before minutes are spent, and never overwritten."""

import tempfile
from contextlib import suppress
from pathlib import Path

from streamcam.errors import MediaError
from streamcam.sinks.atomic_file import explain_os_error, numbered_paths


def check_writable(folder: Path) -> None:
    """Make `folder` if it is missing.

    Raises:
        MediaError: nothing can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise MediaError(f"cannot write into {folder}: {explain_os_error(error)}") from None


def create_numbered(wanted: Path) -> Path:
    """Create an empty file under the first name that is free, and return its path."""
    for path in numbered_paths(wanted):
        with suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
    raise AssertionError("names never end")
