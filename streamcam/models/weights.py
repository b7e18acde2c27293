"""Check files of weights, and explain in one line why they do not load."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from streamcam.errors import ModelError, one_line

LOAD_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    AttributeError,
    TypeError,
    ImportError,
    SafetensorError,
)
"""Errors of the loading libraries over files that are missing, damaged or of another kind."""


@contextmanager
def explain_load_errors(what: str, path: Path, remedy: str) -> Iterator[None]:
    """Turn errors in loading `what` from `path` into one line with the remedy.

    Raises:
        ModelError: it names the damaged file if there is one, else gives the library's message.
    """
    try:
        with warnings.catch_warnings():
            # These warnings are meant for the authors of the model.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    except LOAD_ERRORS as error:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            _check_file(file)
        raise ModelError(f"cannot load {what}: {one_line(error)}; {remedy}") from error


def tensor_names(path: Path) -> set[str]:
    """Return the names of all tensors in the ``.safetensors`` files at `path`.

    Raises:
        ModelError: a file is damaged.
    """
    names: set[str] = set()
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        _check_file(file)
        with safe_open(file, "pt") as weights:
            names.update(weights.keys())
    return names


def check_no_missing_weights(module: torch.nn.Module, stored: set[str] | None, what: str) -> None:
    """Raise ModelError where weights of `module` were left empty, or are not in `stored`."""
    # Whether names begin with this prefix changes with the library's version.
    names = stored and {name.removeprefix("text_model.") for name in stored}
    missing = [
        name
        for name, weight in module.named_parameters()
        if weight.is_meta or (names is not None and name.removeprefix("text_model.") not in names)
    ]
    if missing:
        raise ModelError(
            f"{what} lacks {len(missing)} of its weights, such as {missing[0]};"
            " fetch the model again"
        )


def _check_file(file: Path) -> None:
    """Raise ModelError if a file of weights or of settings is damaged."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt"):
                pass
        elif file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
    except (SafetensorError, ValueError, OSError) as error:
        size = f"{file.stat().st_size} bytes" if file.exists() else "no file"
        raise ModelError(
            f"{file} is damaged or cut off ({size}): {one_line(error)};"
            " delete it and fetch it again"
        ) from None
