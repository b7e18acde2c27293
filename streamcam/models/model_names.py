"""Tell what the name of a model means: files here, or a repository on the Hugging Face hub."""

import re
from collections.abc import Iterable
from pathlib import Path

from streamcam.embedded_model import embedded
from streamcam.errors import ModelError, one_line

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
WEIGHT_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)
"""Some U-Nets are published pickled only: they are read without running code in them."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def local_path(name: str) -> Path | None:
    """Return the path of `name` in the package or on disk, or None where it is a hub id.

    Raises:
        ModelError: it is neither, or it is a pickled file.
    """
    if is_pickled(name):
        raise ModelError(f"{name} is pickled, which can run code; convert it to .safetensors")
    if (folder := embedded(name)) is not None:
        return folder
    try:
        path = Path(name).expanduser()
        exists = bool(name) and path.exists()
    except (OSError, RuntimeError) as error:
        raise ModelError(f'cannot read "{name[:80]}": {one_line(error)[:80]}') from None
    if exists:
        check_model_files(path)
        return path
    if HUB_ID.fullmatch(name) and path.suffix != ".safetensors":
        return None
    raise ModelError(f'no model "{name}": no file or folder here, nor a hub id (USER/NAME)')


def check_model_files(path: Path) -> None:
    """Check that opening the files of a model cannot wait for ever.

    Args:
        path: a file, or a folder in diffusers layout, which has files in two levels.

    Raises:
        ModelError: there is a pipe, a device or the like among them.
    """
    files = [*path.glob("*"), *path.glob("*/*")] if path.is_dir() else [path]
    for file in files:
        if not file.is_dir() and file.exists() and not file.is_file():
            raise ModelError(
                f"{file} is a pipe or a device, not a file; save what it gives to a file"
            )


def split_file(name: str, suffixes: Iterable[str] = (".safetensors",)) -> tuple[str, str]:
    """Return the repository and the file of ``USER/REPO/[FOLDER/]FILE``, "" for no file.

    What is on disk, or is a whole repository, is returned as it is.
    """
    parts = name.split("/")
    is_file = Path(name).suffix.lower() in suffixes
    on_hub = len(parts) > 2 and HUB_ID.fullmatch("/".join(parts[:2])) and ".." not in parts
    if not is_file or not on_hub or Path(name).exists():
        return name, ""
    repo = "/".join(parts[:2])
    return repo, "/".join(parts[2:])


def is_pickled(name: str) -> bool:
    return Path(name).suffix.lower() in PICKLE_SUFFIXES
