"""Paths as users write them."""

from pathlib import Path

from streamcam.errors import MediaError


def expanded(path: str | Path) -> Path:
    """Return `path` with ``~`` and ``~user`` expanded, which a shell leaves behind a colon.

    Raises:
        MediaError: the home folder is not known, as for a user without a name.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise MediaError(
            f"cannot find {path}: no home folder is known; set HOME, or give the whole path"
        ) from None
