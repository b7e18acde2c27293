"""Repositories of the Hugging Face hub that are in the cache."""

from pathlib import Path
from typing import Any, NamedTuple


class CachedModel(NamedTuple):
    """A repository in the cache."""

    id: str
    bytes: int
    path: Path


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
