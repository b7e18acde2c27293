"""Files of models, each on disk, in the cache or downloaded from the Hugging Face hub."""

from collections.abc import Iterable
from pathlib import Path

from streamcam.errors import ModelError, one_line
from streamcam.models.hub import (
    PULL,
    explain_hub_errors,
    has_no_safetensors,
    repo_file,
    snapshot,
)
from streamcam.models.model_names import (
    WEIGHT_SUFFIXES,
    check_model_files,
    is_pickled,
    local_path,
    split_file,
)

INDEX = "model_index.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
EMBEDDING_FILE = "learned_embeds.safetensors"
CONTROL_FILES = [
    "config.json",
    *(f"diffusion_pytorch_model{kind}.safetensors" for kind in ("", ".fp16")),
]


def model_index(model: str, *, offline: bool) -> Path:
    """Return the file that lists the parts of `model`, downloaded if necessary.

    Raises:
        ModelError: it is nowhere, or is not in diffusers layout.
    """
    # As a snapshot: an unreachable hub is then given up at once.
    index = (
        local_path(model) or snapshot(model, [INDEX], offline=offline, pull=f'"{PULL} {model}"')
    ) / INDEX
    if not index.exists():
        raise ModelError(
            f"{model} is not in diffusers layout: it has no {INDEX};"
            " name the folder that has one, or a single .safetensors file"
        )
    return index


def pipeline_folder(
    model: str, *, offline: bool, half: bool, without: Iterable[str], pull: str | None = None
) -> Path:
    """Return the folder of `model` in diffusers layout, downloaded if necessary.

    Args:
        model: a folder, or a hub id.
        offline: never reach for the hub.
        half: prefer half-precision files.
        without: parts that are not needed.
        pull: the remedy where it is not in the cache. Default: to pull `model` alone.

    Raises:
        ModelError: it is nowhere, or the download failed.
    """
    if (path := local_path(model)) is not None:
        return path
    from diffusers import DiffusionPipeline

    def download(variant: str | None, offline: bool) -> Path:
        return Path(
            DiffusionPipeline.download(
                model,
                variant=variant,
                use_safetensors=True,
                local_files_only=offline,
                **dict.fromkeys(without),
            )
        )

    preferred, alternative = ("fp16", None) if half else (None, "fp16")
    with explain_hub_errors(model, offline=offline, pull=pull or f'"{PULL} {model}"'):
        try:
            return download(preferred, offline)
        except Exception as error:
            # Download the alternative files only where the hub lacks the preferred ones; but
            # where it cannot be reached, files downloaded for another device will do.
            lacking = isinstance(error, ValueError) or has_no_safetensors(error)
            try:
                return download(alternative, offline or not lacking)
            except Exception as second:
                raise (second if lacking else error) from None


def part_folder(name: str, *, offline: bool) -> Path:
    """Return the folder of a single model, such as an autoencoder: its config and weights."""
    if (path := local_path(name)) is not None:
        return path
    return snapshot(name, ["config.json", "*.safetensors"], offline=offline)


def config_folder(name: str, *, offline: bool) -> Path:
    """Return a folder in diffusers layout with every config file and no weights."""
    if (path := local_path(name)) is not None:
        return path
    return snapshot(name, ["*.json", "*/*.json", "*/*.txt"], offline=offline)


def lora_file(name: str, *, offline: bool, pickled: bool = False) -> Path:
    """Return the file of a LoRA: a path, ``USER/REPO`` or ``USER/REPO/[FOLDER/]FILE``.

    Of a LoRA that PEFT has saved on the hub, its config with alpha is fetched too.

    Args:
        name: of it.
        offline: never reach for the hub.
        pickled: whether a pickled file will do too.

    Raises:
        ModelError: it is nowhere, or pickled, or the download failed.
    """
    return _weights_file(name, LORA_FILE, "LoRA", offline=offline, pickled=pickled)


def embedding_file(name: str, *, offline: bool) -> Path:
    """Return the file of a textual-inversion embedding, named as a LoRA's may be."""
    return _weights_file(name, EMBEDDING_FILE, "embedding", offline=offline)


def _weights_file(
    name: str, usual: str, kind: str, *, offline: bool, pickled: bool = False
) -> Path:
    repo, file = weights_repo(name, usual, pickled=pickled)
    if repo is not None:
        if Path(file).name == PEFT_FILE:
            repo_file(repo, str(Path(file).with_name(PEFT_CONFIG)), offline=offline, kind=kind)
        return repo_file(repo, file, offline=offline, kind=kind)
    path = Path(name).expanduser() if pickled and is_pickled(name) else local_path(name)
    assert path is not None, "a hub id has a repository"
    check_model_files(path)
    if path.is_file():
        return path
    if not path.exists():
        raise ModelError(f'no {kind} "{name}": no file or folder here, nor on the hub')
    files = [path / file] if (path / file).exists() else sorted(path.glob("*.safetensors"))
    if len(files) != 1:
        raise ModelError(
            f"{name} holds {len(files)} .safetensors files; name the one that is the {kind}"
        )
    return files[0]


def weights_repo(
    name: str, usual: str = LORA_FILE, *, pickled: bool = False
) -> tuple[str | None, str]:
    """Return the repository on the hub that `name` means, None for a path, and the file in it.

    Where `name` is a repository alone, the file is the `usual` one.

    Raises:
        ModelError: it is neither, or it is a pickled file and may not be.
    """
    repo, file = split_file(name, WEIGHT_SUFFIXES if pickled else (".safetensors",))
    if file:
        return repo, file
    if pickled and is_pickled(name):
        return None, usual
    return (name if local_path(name) is None else None), usual


def unet_file(name: str, *, offline: bool) -> Path:
    """Return the file of a U-Net: a path, or ``USER/REPO/[FOLDER/]FILE`` on the hub.

    Raises:
        ModelError: it is nowhere, or is no single file.
    """
    try:
        path = Path(name).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError) as error:
        raise ModelError(f'cannot read "{name[:80]}": {one_line(error)[:80]}') from None
    if exists:
        check_model_files(path)
        if path.is_dir():
            raise ModelError(f"{name} is a folder; name the file of the U-Net in it")
        return path
    repo, file = split_file(name, WEIGHT_SUFFIXES)
    if not file:
        raise ModelError(f'no U-Net "{name}": no file here, nor one on the hub (USER/REPO/FILE)')
    return repo_file(repo, file, offline=offline)


def control_path(name: str, *, offline: bool) -> Path:
    """Return the file or folder of a ControlNet, downloaded if necessary.

    Args:
        name: a path, ``USER/REPO`` or ``USER/REPO/[FOLDER/]FILE.safetensors``.
        offline: never reach for the hub.

    Raises:
        ModelError: it is nowhere, or the download failed.
    """
    repo, file = split_file(name)
    if file:
        return repo_file(repo, file, offline=offline)
    if (path := local_path(name)) is not None:
        return path
    return snapshot(name, CONTROL_FILES, offline=offline)


def vision_folder(name: str, *, offline: bool) -> Path:
    """Return the folder of a vision model of transformers: its config files and weights."""
    if (path := local_path(name)) is not None:
        return path
    return snapshot(name, ["*.json", "model*.safetensors"], offline=offline)
