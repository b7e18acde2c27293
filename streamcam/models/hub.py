"""Find model files on disk or in the cache, or download them from the Hugging Face hub."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from streamcam.embedded_model import embedded
from streamcam.errors import ModelError, one_line

INDEX = "model_index.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
EMBEDDING_FILE = "learned_embeds.safetensors"
CONTROL_FILES = [
    "config.json",
    *(f"diffusion_pytorch_model{kind}.safetensors" for kind in ("", ".fp16")),
]
PULL = "streamcam models pull"
PULL_SAME_SETTINGS = f'"{PULL}" and the same settings'
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
WEIGHT_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)
"""Some U-Nets are published pickled only: they are read without running code in them."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class CachedModel(NamedTuple):
    """A repository in the cache."""

    id: str
    bytes: int
    path: Path


@contextmanager
def offline_mode(*, offline: bool) -> Iterator[None]:
    """Keep the libraries off the hub within this context, if `offline`.

    With ``local_files_only`` they still ask it for other things.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def cached_models() -> list[CachedModel]:
    """Return the models in the cache, by name."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except (CacheNotFound, RuntimeError):  # Also where no home folder is known.
        return []
    models = [
        CachedModel(
            repo.repo_id, repo.size_on_disk, Path(max(repo.revisions, key=_age).snapshot_path)
        )
        for repo in repos
        if repo.repo_type == "model" and repo.revisions
    ]
    return sorted(models)


def cached_names() -> list[str]:
    """Return the names of what the cache holds, without reading any of its files."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = Path(HF_HUB_CACHE).glob("models--*--*/snapshots")
    names = (folder.parent.name.removeprefix("models--") for folder in folders)
    return sorted(name.replace("--", "/") for name in names)


def is_cached(repo: str) -> bool:
    """Return whether the cache holds anything of `repo`."""
    return (repo_folder(repo) / "snapshots").is_dir()


def repo_folder(repo: str) -> Path:
    """Return the folder in the cache that `repo` has, or would have."""
    from huggingface_hub.constants import HF_HUB_CACHE

    # As `repo_folder_name` says, whose module takes half a second to import.
    return Path(HF_HUB_CACHE) / "--".join(["models", *repo.split("/")])


def _age(revision: Any) -> float:
    return float(revision.last_modified)


def model_index(model: str, *, offline: bool) -> Path:
    """Return the file that lists the parts of `model`, downloaded if necessary.

    Raises:
        ModelError: it is nowhere, or is not in diffusers layout.
    """
    # As a snapshot: an unreachable hub is then given up at once.
    index = (
        local_path(model) or _snapshot(model, [INDEX], offline=offline, pull=f'"{PULL} {model}"')
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
    with _explain_hub_errors(model, offline=offline, pull=pull or f'"{PULL} {model}"'):
        try:
            return download(preferred, offline)
        except Exception as error:
            # Download the alternative files only where the hub lacks the preferred ones; but
            # where it cannot be reached, files downloaded for another device will do.
            lacking = isinstance(error, ValueError) or _has_no_safetensors(error)
            try:
                return download(alternative, offline or not lacking)
            except Exception as second:
                raise (second if lacking else error) from None


def part_folder(name: str, *, offline: bool) -> Path:
    """Return the folder of a single model, such as an autoencoder: its config and weights."""
    if (path := local_path(name)) is not None:
        return path
    return _snapshot(name, ["config.json", "*.safetensors"], offline=offline)


def config_folder(name: str, *, offline: bool) -> Path:
    """Return a folder in diffusers layout with every config file and no weights."""
    if (path := local_path(name)) is not None:
        return path
    return _snapshot(name, ["*.json", "*/*.json", "*/*.txt"], offline=offline)


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
            _single(repo, str(Path(file).with_name(PEFT_CONFIG)), kind, offline=offline)
        return _single(repo, file, kind, offline=offline)
    path = Path(name).expanduser() if pickled and _is_pickled(name) else local_path(name)
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
    if pickled and _is_pickled(name):
        return None, usual
    return (name if local_path(name) is None else None), usual


def _is_pickled(name: str) -> bool:
    return Path(name).suffix.lower() in PICKLE_SUFFIXES


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
        name: a path, ``USER/REPO`` or ``USER/REPO/FILE.safetensors``.
        offline: never reach for the hub.

    Raises:
        ModelError: it is nowhere, or the download failed.
    """
    if is_repo_file(name):
        repo, _, file = name.rpartition("/")
        return repo_file(repo, file, offline=offline)
    if (path := local_path(name)) is not None:
        return path
    return _snapshot(name, CONTROL_FILES, offline=offline)


def vision_folder(name: str, *, offline: bool) -> Path:
    """Return the folder of a vision model of transformers: its config files and weights."""
    if (path := local_path(name)) is not None:
        return path
    return _snapshot(name, ["*.json", "model*.safetensors"], offline=offline)


def is_repo_file(name: str) -> bool:
    """Return whether `name` is ``USER/REPO/FILE.safetensors``, and no path here."""
    is_file = name.endswith(".safetensors") and name.count("/") == 2
    return is_file and not name.startswith(("/", ".")) and not Path(name).exists()


def local_path(name: str) -> Path | None:
    """Return the path of `name` in the package or on disk, or None where it is a hub id.

    Raises:
        ModelError: it is neither, or it is a pickled file.
    """
    if _is_pickled(name):
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


def _single(repo: str, file: str, kind: str, *, offline: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with _explain_hub_errors(repo, offline=offline, pull=PULL_SAME_SETTINGS):
        try:
            return Path(hf_hub_download(repo, file, local_files_only=offline))
        except RemoteEntryNotFoundError:
            raise ModelError(
                f"{repo} on the hub has no {file}; name its {kind} as {repo}/FILE.safetensors"
            ) from None


def repo_file(repo: str, file: str, *, offline: bool) -> Path:
    """Return one file of a repository, downloaded if necessary.

    Raises:
        ModelError: it is not there, or the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with _explain_hub_errors(repo, offline=offline, pull=PULL_SAME_SETTINGS):
        try:
            return Path(hf_hub_download(repo, file, local_files_only=offline))
        except RemoteEntryNotFoundError:
            raise ModelError(f"{repo} on the hub has no {file}; look there for its name") from None


def repo_folder_of(repo: str, folder: str, files: Iterable[str], *, offline: bool) -> Path:
    """Return a folder of a repository, with those of its `files`, downloaded if necessary.

    Raises:
        ModelError: it is not there, or the hub cannot be reached.
    """
    patterns = [f"{folder}/{file}" if folder else file for file in files]
    path = _snapshot(repo, patterns, offline=offline) / folder
    if not path.is_dir():
        raise ModelError(f"{repo} has no folder {folder}; look on the hub for its name")
    return path


def _snapshot(
    repo: str, patterns: list[str], *, offline: bool, pull: str = PULL_SAME_SETTINGS
) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        """A progress bar that is hidden where there are no weights, which alone take long."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            has_weights = any(pattern.endswith(".safetensors") for pattern in patterns)
            super().__init__(*args, **kwargs | ({} if has_weights else {"disable": True}))

    with _explain_hub_errors(repo, offline=offline, pull=pull):
        return Path(
            snapshot_download(
                repo, allow_patterns=patterns, local_files_only=offline, tqdm_class=Bar
            )
        )


@contextmanager
def _explain_hub_errors(name: str, *, offline: bool, pull: str) -> Iterator[None]:
    """Turn errors of the cache and the hub into one line with the reason and the remedy."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if HF_HUB_CACHE.startswith("~"):  # Left as it is, it would become a folder of that name.
        raise ModelError(
            f"no model {name}: no folder here, and no home folder is known to keep models in; set"
            " HOME or HF_HOME"
        )
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # The library has many kinds, which change with its version.
        if offline:
            why = "not in the cache, and offline"
            remedy = f"fetch it once with {pull}"
        else:
            why, remedy = _explain(error)
        raise ModelError(f"no model {name}: no folder here, {why}; {remedy}") from error


def _explain(error: Exception) -> tuple[str, str]:
    """Return why a download failed, and what to do about it."""
    from huggingface_hub import errors

    if _has_no_safetensors(error):
        return (
            "and on the hub its weights are pickled, which can run code",
            "choose one with .safetensors",
        )
    for kind, why, remedy in (
        (
            errors.GatedRepoError,
            "and on the hub only some accounts may download it",
            'accept its terms on its page, then log in with "hf auth login"',
        ),
        (
            errors.RepositoryNotFoundError,
            "and the hub has none of that name, or it is private",
            'check the name, or log in with "hf auth login"',
        ),
        (
            errors.LocalEntryNotFoundError,
            "not in the cache, and the hub cannot be reached",
            "connect once to fetch it, or name a local folder",
        ),
    ):
        if isinstance(error, kind):
            return why, remedy
    return f"and the download failed ({one_line(error)})", "try again: whole files are kept"


def _has_no_safetensors(error: Exception) -> bool:
    return "`safetensors` weights" in str(error)
