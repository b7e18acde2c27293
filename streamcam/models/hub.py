"""Download files from the Hugging Face hub, or find them in the cache, with errors in one line."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamcam.errors import ModelError, one_line

PULL = "streamcam models pull"
PULL_SAME_SETTINGS = f'"{PULL}" and the same settings'


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


def repo_file(repo: str, file: str, *, offline: bool, kind: str = "") -> Path:
    """Return one file of a repository, downloaded if necessary.

    Args:
        repo: its id.
        file: the path of the file in it.
        offline: never reach for the hub.
        kind: of the file, where `file` is only its usual name.

    Raises:
        ModelError: it is not there, or the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with explain_hub_errors(repo, offline=offline, pull=PULL_SAME_SETTINGS):
        try:
            return Path(hf_hub_download(repo, file, local_files_only=offline))
        except RemoteEntryNotFoundError:
            remedy = (
                f"name its {kind} as {repo}/FILE.safetensors" if kind else "look there for its name"
            )
            raise ModelError(f"{repo} on the hub has no {file}; {remedy}") from None


def repo_folder_of(repo: str, folder: str, files: Iterable[str], *, offline: bool) -> Path:
    """Return a folder of a repository, with those of its `files`, downloaded if necessary.

    Raises:
        ModelError: it is not there, or the hub cannot be reached.
    """
    patterns = [f"{folder}/{file}" if folder else file for file in files]
    path = snapshot(repo, patterns, offline=offline) / folder
    if not path.is_dir():
        raise ModelError(f"{repo} has no folder {folder}; look on the hub for its name")
    return path


def snapshot(
    repo: str, patterns: list[str], *, offline: bool, pull: str = PULL_SAME_SETTINGS
) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        """A progress bar that is hidden where there are no weights, which alone take long."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            has_weights = any(pattern.endswith(".safetensors") for pattern in patterns)
            super().__init__(*args, **kwargs | ({} if has_weights else {"disable": True}))

    with explain_hub_errors(repo, offline=offline, pull=pull):
        return Path(
            snapshot_download(
                repo, allow_patterns=patterns, local_files_only=offline, tqdm_class=Bar
            )
        )


@contextmanager
def explain_hub_errors(name: str, *, offline: bool, pull: str) -> Iterator[None]:
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

    if has_no_safetensors(error):
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


def has_no_safetensors(error: Exception) -> bool:
    return "`safetensors` weights" in str(error)
