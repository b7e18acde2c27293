"""Model files: found on disk, in the cache, or fetched from the hub with progress and resume."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from streamcam.errors import ModelError

LORA_FILE = "pytorch_lora_weights.safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class Cached(NamedTuple):
    """One repository in the cache."""

    id: str
    bytes: int
    path: Path


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


def pipeline_folder(model: str, *, offline: bool, half: bool = False) -> Path:
    """Return the folder of `model` in diffusers layout, fetching it if need be.

    Args:
        model: a folder, or a hub id.
        offline: never reach for the hub.
        half: prefer half-precision files where the hub has them.

    Raises:
        ModelError: neither is there, or the download failed.
    """
    if (path := local(model)) is not None:
        return path
    from diffusers import DiffusionPipeline

    def download(variant: str | None) -> Path:
        return Path(
            DiffusionPipeline.download(
                model, use_safetensors=True, local_files_only=offline, variant=variant
            )
        )

    try:
        if half:
            try:
                return download("fp16")
            except ValueError:
                pass  # The hub has no half-precision files of this model.
        return download(None)
    except (OSError, ValueError) as error:
        raise _unreachable(model, error, offline=offline) from error


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
    path = local(repo) or _snapshot(repo, [file], offline=offline)
    if path.is_file():
        return path
    found = [path / file] if (path / file).exists() else sorted(path.glob("*.safetensors"))
    if len(found) != 1:
        raise ModelError(
            f"{name} holds {len(found)} .safetensors files; name the one that is the LoRA"
        )
    return found[0]


def local(name: str) -> Path | None:
    """Return the path that `name` is, or None where it is a hub id.

    Raises:
        ModelError: it is neither, or it is a pickled file.
    """
    path = Path(name).expanduser()
    if path.suffix.lower() in PICKLES:
        raise ModelError(f"{name} is pickled, which can run code; convert it to .safetensors")
    if path.exists():
        return path
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        return None
    raise ModelError(f"no such model: {name} is no file or folder here, nor a hub id (USER/NAME)")


def _snapshot(repo: str, patterns: list[str], *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        folder = Path(snapshot_download(repo, allow_patterns=patterns, local_files_only=offline))
    except (OSError, HfHubHTTPError) as error:
        raise _unreachable(repo, error, offline=offline) from error
    if not any(folder.rglob("*")):
        raise ModelError(f"{repo} has none of {', '.join(patterns)}")
    return folder


def _unreachable(name: str, error: Exception, *, offline: bool) -> ModelError:
    if offline:
        why = "not in the cache, and offline"
        remedy = f'fetch it once with "streamcam models pull {name}"'
    elif "401" in str(error) or "404" in str(error) or "403" in str(error):
        why = "the hub does not give it"
        remedy = "check the name, and log in with huggingface-cli where it is gated"
    else:
        why = "not in the cache, and the hub cannot be reached"
        remedy = "connect once to fetch it, or name a local folder"
    return ModelError(f"no model {name}: {why}; {remedy}")
