"""Check files of weights, and explain in one line why they do not load."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from streamcam.errors import ModelError, StreamcamError, one_line
from streamcam.models.file_headers import MAX_JSON_BYTES
from streamcam.system.regular_file import check_regular


@contextmanager
def explain_load_errors(what: str, path: Path, remedy: str) -> Iterator[None]:
    """Turn errors in loading `what` from `path` into one line with the remedy.

    Files that would block whoever opens them are refused before.

    Raises:
        ModelError: it names the damaged file if there is one, else gives the library's message.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        _check_openable(file)
    try:
        with warnings.catch_warnings():
            # These warnings are meant for the authors of the model.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    except StreamcamError:
        raise
    except Exception as error:  # The libraries have many kinds, which change with their versions.
        for file in files:
            _check_file(file)
        raise ModelError(f"cannot load {what}: {one_line(error)}; {remedy}") from error


def safe_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a ``.safetensors`` file and what its header says about them.

    Raises:
        ModelError: it is damaged.
    """
    _check_file(file)
    with safe_open(file, "pt") as weights:
        header = weights.metadata() or {}
    return load_file(file), header


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


def not_finite(tensor: Tensor) -> bool:
    """Return whether `tensor` holds NaN or infinity."""
    if not (tensor.is_floating_point() and tensor.numel()):
        return False
    # The fastest there is in every dtype; NaN goes before both ends, as infinity is one of them.
    ends = (tensor if tensor.itemsize > 1 else tensor.float()).aminmax()
    return not bool(torch.isfinite(ends.min) & torch.isfinite(ends.max))


def check_finite(module: torch.nn.Module, what: str) -> None:
    """Raise ModelError where weights of `module` are NaN or infinite."""
    for name, weight in module.state_dict().items():
        if not_finite(weight):
            raise ModelError(
                f"{what} holds values that are no numbers (NaN or infinity), first in {name}:"
                " its training or merging went wrong, or it needs --dtype float32; choose another"
            )


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


def _check_openable(file: Path) -> None:
    """Raise ModelError for what is no regular file, and for settings that are far too large."""
    if not file.exists() or file.is_dir():
        return
    try:
        check_regular(file)
    except OSError as error:
        raise ModelError(f"cannot read {file}: {error.strerror}") from None
    if file.suffix == ".json" and (size := file.stat().st_size) > MAX_JSON_BYTES:
        raise ModelError(f"{file} is too large for a file of settings ({size} bytes)")


def _check_file(file: Path) -> None:
    """Raise ModelError if a file of weights or of settings is damaged."""
    _check_openable(file)
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt"):
                pass
        elif file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        size = f"{file.stat().st_size} bytes" if file.exists() else "no file"
        raise ModelError(
            f"{file} is damaged or cut off ({size}): {one_line(error)};"
            " delete it and fetch it again"
        ) from None
