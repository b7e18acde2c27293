"""Find the files of video models on disk or on the hub, and read them safely."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models import hub, model_files, model_names
from streamcam.models.file_headers import read_json
from streamcam.models.training_files import read_pickled
from streamcam.models.weights import explain_load_errors
from streamcam.video.wan_weights import unwrap

INDEX = "model_index.json"
SUFFIXES = (".safetensors", ".pt", ".pth")
WHOLE = "diffusion_pytorch_model.safetensors"
"""Weights of a component in diffusers layout, where they are one file."""
PUBLISHED = "model.pt"
"""File in the folders of StreamDiffusionV2 on the hub."""


def is_diffusers(name: str, *, offline: bool) -> bool:
    """Return whether `name` is a model in diffusers layout, on disk or on the hub."""
    path = Path(name).expanduser()
    if path.exists():
        return (path / INDEX).exists()
    on_hub = name.count("/") == 1 and not name.endswith(SUFFIXES)
    return on_hub and model_files.model_index(name, offline=offline).exists()


def weights_file(name: str, *, offline: bool) -> Path:
    """Return the weights file that `name` stands for: a path, a folder with one, or on the hub.

    On the hub: USER/REPO/FILE, or USER/REPO/FOLDER with a ``model.pt``.

    Raises:
        ModelError: there is none, or more than one.
    """
    path = Path(name).expanduser()
    if path.exists():
        model_names.check_model_files(path)
    if path.is_file():
        # Its settings may lie next to it.
        model_names.check_model_files(path.with_name("config.json"))
        return path
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES)
        if len(files) != 1:
            raise ModelError(f"{name} holds {len(files)} files of weights; name the one to load")
        return files[0]
    repo, file = "/".join(name.split("/")[:2]), "/".join(name.split("/")[2:])
    if not file or not model_names.HUB_ID.fullmatch(repo):
        raise ModelError(
            f'no model "{name}": no file or folder here, nor a name on the hub (USER/REPO/FILE)'
        )
    file = file if file.endswith(SUFFIXES) else f"{file}/{PUBLISHED}"
    return hub.repo_file(repo, file, offline=offline)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file, out of the dicts and prefixes that training code adds.

    Pickled files are read without running code in them, and are mapped, not copied.

    Raises:
        ModelError: it is damaged, or holds more than tensors.
    """
    with explain_load_errors(str(path), path, "delete it and fetch it again"):
        if path.suffix != ".safetensors":
            return unwrap(read_pickled(path))
        from safetensors.torch import load_file

        return unwrap(load_file(path))


class FolderWeights(Mapping[str, Tensor]):
    """Weights of a component in diffusers layout, each read on access.

    Raises:
        OSError: there are no weights.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        index = folder / f"{WHOLE}.index.json"
        if index.exists():
            file_names = read_json(index)["weight_map"].values()
            paths = [folder / name for name in sorted(set(file_names))]
        else:
            paths = [folder / WHOLE]
        self._files: dict[str, Any] = {}
        opened: list[Any] = [safe_open(path, "pt") for path in paths]
        for file in opened:
            self._files |= dict.fromkeys(file.keys(), file)

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._files[name].get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@contextmanager
def name_file_in_errors(path: Path) -> Iterator[None]:
    """Put the name of a file in front of errors about its weights."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
