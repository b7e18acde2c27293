"""Model files: found on disk, in the cache, or fetched from the hub with progress and resume."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from streamcam.embedded import embedded
from streamcam.errors import ModelError, one_line

INDEX = "model_index.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
PULL = "streamcam models pull"
SAME = f'"{PULL}" and the same settings'
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class Cached(NamedTuple):
    """One repository in the cache."""

    id: str
    bytes: int
    path: Path


@contextmanager
def kept(*, offline: bool) -> Iterator[None]:
    """Keep the libraries from the hub while `offline`.

    Told to use local files alone, they still ask it for other things.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def cached() -> list[Cached]:
    """Return what the cache holds, by name."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    found = [
        Cached(repo.repo_id, repo.size_on_disk, Path(max(repo.revisions, key=_age).snapshot_path))
        for repo in repos
        if repo.repo_type == "model" and repo.revisions
    ]
    return sorted(found)


def _age(revision: Any) -> float:
    return float(revision.last_modified)


def model_index(model: str, *, offline: bool) -> Path:
    """Return the file that names the parts of `model`, fetching it if need be.

    Raises:
        ModelError: it is nowhere, or is not in diffusers layout.
    """
    # Asked for as a folder, a hub out of reach is given up at once.
    index = (
        local(model) or _snapshot(model, [INDEX], offline=offline, pull=f'"{PULL} {model}"')
    ) / INDEX
    if not index.exists():
        raise ModelError(
            f"{model} is not in diffusers layout: it has no {INDEX};"
            " name the folder that has one, or a single .safetensors file"
        )
    return index


def pipeline_folder(model: str, *, offline: bool, half: bool, without: Iterable[str]) -> Path:
    """Return the folder of `model` in diffusers layout, fetching it if need be.

    Args:
        model: a folder, or a hub id.
        offline: never reach for the hub.
        half: prefer half-precision files.
        without: parts that are not needed.

    Raises:
        ModelError: it is nowhere, or the download failed.
    """
    if (path := local(model)) is not None:
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

    preferred, other = ("fp16", None) if half else (None, "fp16")
    with _asking(model, offline=offline, pull=f'"{PULL} {model}"'):
        try:
            return download(preferred, offline)
        except Exception as error:
            # Fetch the other files only where the hub lacks the preferred ones; but where it
            # cannot be reached, what was fetched for another device will do.
            lacking = isinstance(error, ValueError) or _has_no_safetensors(error)
            try:
                return download(other, offline or not lacking)
            except Exception as second:
                raise (second if lacking else error) from None


def part_folder(name: str, *, offline: bool) -> Path:
    """Return the folder of a single model, such as an autoencoder: its config and weights."""
    if (path := local(name)) is not None:
        return path
    return _snapshot(name, ["config.json", "*.safetensors"], offline=offline)


def config_folder(name: str, *, offline: bool) -> Path:
    """Return a folder in diffusers layout with every config file and no weights."""
    if (path := local(name)) is not None:
        return path
    return _snapshot(name, ["*.json", "*/*.json", "*/*.txt"], offline=offline)


def lora_file(name: str, *, offline: bool) -> Path:
    """Return the file of a LoRA: a path, ``USER/REPO`` or ``USER/REPO/FILE.safetensors``."""
    repo, file = name, LORA_FILE
    if name.endswith(".safetensors") and name.count("/") == 2 and not Path(name).exists():
        repo, _, file = name.rpartition("/")
    if (path := local(repo)) is None:
        return _single(repo, file, offline=offline)
    if path.is_file():
        return path
    found = [path / file] if (path / file).exists() else sorted(path.glob("*.safetensors"))
    if len(found) != 1:
        raise ModelError(
            f"{name} holds {len(found)} .safetensors files; name the one that is the LoRA"
        )
    return found[0]


def local(name: str) -> Path | None:
    """Return the path that `name` is, in the package or on disk, or None where it is a hub id.

    Raises:
        ModelError: it is neither, or it is a pickled file.
    """
    if Path(name).suffix.lower() in PICKLES:
        raise ModelError(f"{name} is pickled, which can run code; convert it to .safetensors")
    if (folder := embedded(name)) is not None:
        return folder
    try:
        path = Path(name).expanduser()
        here = bool(name) and path.exists()
    except (OSError, RuntimeError) as error:
        raise ModelError(f'cannot read "{name[:80]}": {one_line(error)[:80]}') from None
    if here:
        return path
    if HUB_ID.fullmatch(name) and path.suffix != ".safetensors":
        return None
    raise ModelError(f'no model "{name}": no file or folder here, nor a hub id (USER/NAME)')


def _single(repo: str, file: str, *, offline: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with _asking(repo, offline=offline, pull=SAME):
        try:
            return Path(hf_hub_download(repo, file, local_files_only=offline))
        except RemoteEntryNotFoundError:
            raise ModelError(
                f"{repo} on the hub has no {file}; name its LoRA as {repo}/FILE.safetensors"
            ) from None


def repo_file(repo: str, file: str, *, offline: bool) -> Path:
    """Return one file of a repository, fetching it if need be.

    Raises:
        ModelError: it is not there, or the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with _asking(repo, offline=offline, pull=SAME):
        try:
            return Path(hf_hub_download(repo, file, local_files_only=offline))
        except RemoteEntryNotFoundError:
            raise ModelError(f"{repo} on the hub has no {file}; look there for its name") from None


def _snapshot(repo: str, patterns: list[str], *, offline: bool, pull: str = SAME) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        """Stays away where there are no weights, whose download takes its time."""

        def __init__(self, *others: Any, **settings: Any) -> None:
            weightless = not any(pattern.endswith(".safetensors") for pattern in patterns)
            super().__init__(*others, **settings | ({"disable": True} if weightless else {}))

    with _asking(repo, offline=offline, pull=pull):
        return Path(
            snapshot_download(
                repo, allow_patterns=patterns, local_files_only=offline, tqdm_class=Bar
            )
        )


@contextmanager
def _asking(name: str, *, offline: bool, pull: str) -> Iterator[None]:
    """Say in one line why the cache and the hub do not give `name`."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # The library's kinds are many, and change with its version.
        if offline:
            why = "not in the cache, and offline"
            remedy = f"fetch it once with {pull}"
        else:
            why, remedy = _refusal(error)
        raise ModelError(f"no model {name}: no folder here, {why}; {remedy}") from error


def _refusal(error: Exception) -> tuple[str, str]:
    """Return why the hub did not give something, and what to do about it."""
    from huggingface_hub import errors

    if _has_no_safetensors(error):
        return (
            "and on the hub its weights are pickled, which can run code",
            "choose one with .safetensors",
        )
    for kind, why, remedy in (
        (
            errors.GatedRepoError,
            "and the hub gives it to some accounts alone",
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
