"""Files of video models: found on disk, in the cache, or fetched from the hub; and read safely."""

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models import hub
from streamcam.models.weights import explain_load_errors
from streamcam.video.wan_weights import unwrapped

INDEX = "model_index.json"
SUFFIXES = (".safetensors", ".pt", ".pth")
WHOLE = "diffusion_pytorch_model.safetensors"
"""The weights of a part in diffusers layout, where they are one file."""
PUBLISHED = "model.pt"
"""The file in a folder of StreamDiffusionV2's on the hub."""


def is_diffusers(name: str, *, offline: bool) -> bool:
    """Tell whether `name` is a model in diffusers layout, here or on the hub."""
    path = Path(name).expanduser()
    if path.exists():
        return (path / INDEX).exists()
    on_hub = name.count("/") == 1 and not name.endswith(SUFFIXES)
    return on_hub and hub.model_index(name, offline=offline).exists()


def weights_file(name: str, *, offline: bool) -> Path:
    """Return the file of weights that `name` says: a path, a folder with one, or on the hub.

    On the hub: USER/REPO/FILE, or USER/REPO/FOLDER with a ``model.pt``.

    Raises:
        ModelError: there is none, or more than one.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        found = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES)
        if len(found) != 1:
            raise ModelError(f"{name} holds {len(found)} files of weights; name the one to load")
        return found[0]
    repo, file = "/".join(name.split("/")[:2]), "/".join(name.split("/")[2:])
    if not file or not hub.HUB_ID.fullmatch(repo):
        raise ModelError(
            f'no model "{name}": no file or folder here, nor a name on the hub (USER/REPO/FILE)'
        )
    file = file if file.endswith(SUFFIXES) else f"{file}/{PUBLISHED}"
    return hub.repo_file(repo, file, offline=offline)


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file, out of what training code wraps around them.

    Pickled files are read without running what else may be in them, and mapped, not copied.

    Raises:
        ModelError: it is damaged, or holds more than tensors.
    """
    with explain_load_errors(str(path), path, "delete it and fetch it again"):
        if path.suffix != ".safetensors":
            return unwrapped(_unpickled(path))
        from safetensors.torch import load_file

        return unwrapped(load_file(path))


class Stored(Mapping[str, Tensor]):
    """The weights of a part in diffusers layout, each read when it is asked for.

    Raises:
        OSError: there are none.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        index = folder / f"{WHOLE}.index.json"
        if index.exists():
            named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            paths = [folder / name for name in sorted(set(named))]
        else:
            paths = [folder / WHOLE]
        self._files: dict[str, Any] = {}
        opened: list[Any] = [safe_open(path, "pt") for path in paths]
        for file in opened:
            self._files |= dict.fromkeys(file.keys(), file)

    def __getitem__(self, name: str) -> Tensor:
        found: Tensor = self._files[name].get_tensor(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _unpickled(path: Path) -> dict[str, Any]:
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path} holds more than weights, which could run code; get it as .safetensors"
        ) from None
    if not isinstance(stored, dict):
        raise ModelError(f"{path} holds no table of weights")
    return stored


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say of which file it is that its weights do not fit."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
