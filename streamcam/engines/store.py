"""Engines on disk: each a complete folder named by the hash of its cache key, with a manifest."""

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, FiniteFloat, model_validator

from streamcam.engines.hash_memory import HashMemory
from streamcam.engines.shared_engines import MANIFEST, SharedEngines
from streamcam.errors import EngineError
from streamcam.system.owned_folder import OwnedFolder, remove_abandoned
from streamcam.system.paths import engines_folder, expanded

TIMINGS = "timings-{}.cache"
"""Names of files next to the engines: times of kernels, which several engines share."""
UNFINISHED = ".making-"
"""Begins the names of folders that are still being written."""
ABANDONED_S = 24 * 3600
"""Age of an unfinished folder that nobody can be writing any more, where folders have no locks."""
ATTEMPTS = 10
"""To publish an engine, while others publish the same one."""


class _Identity(BaseModel):
    """Parts of a cache key that are listed; the rest is there to be read by people."""

    model_config = ConfigDict(extra="allow")

    engine: str = "unknown"
    dtype: str = ""
    stage: str = ""
    inputs: list[str] = []
    settings: dict[str, Any] = {}


class _File(BaseModel):
    bytes: int
    sha256: str


class _Manifest(BaseModel):
    """All that is read of a manifest; one that does not hold it is damaged."""

    model_config = ConfigDict(extra="allow")

    identity: _Identity = _Identity()
    made: str
    files: dict[str, _File]
    psnr: float | None = None
    refused: str | None = None
    ms: dict[str, FiniteFloat] | None = None

    @model_validator(mode="after")
    def _has_a_result(self) -> Self:
        if self.psnr is None and self.refused is None and self.ms is None:
            raise ValueError("neither an accuracy nor times")
        return self


@dataclass(frozen=True, slots=True)
class Entry:
    """An engine in the store."""

    key: str
    folder: Path
    manifest: Mapping[str, Any]
    """Its cache key, accuracy and files, see `Store.create`; empty if damaged."""

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        total = 0
        with suppress(OSError):  # It may be removed meanwhile.
            for file in self.folder.rglob("*"):
                total += file.stat().st_size if file.is_file() else 0
        return total


class Store:
    """A folder of engines; any number of processes may share it."""

    def __init__(
        self, folder: str | Path | None = None, shared: SharedEngines | None = None
    ) -> None:
        """Use `folder`, by default one in the user's cache.

        What is missing there is taken from `shared`, and what is made goes there too.

        Raises:
            StreamcamError: no home folder is known to find it in.
        """
        self.folder = engines_folder() if folder is None else expanded(folder)
        self.hashes = HashMemory(self.folder)
        self._shared = shared
        self._absent: set[str] = set()
        """Keys of engines that have not been found in `shared`."""

    def find(self, key: str) -> Entry | None:
        """Return the engine of that key, None where it is missing, incomplete or damaged."""
        if (entry := self._find_here(key)) is None and self._fetch(key):
            entry = self._find_here(key)
        return entry

    def _find_here(self, key: str) -> Entry | None:
        folder = self.folder / key
        manifest = _manifest(folder)
        complete = manifest and all(
            self._matches(folder / name, digest) for name, digest in manifest["files"].items()
        )
        return Entry(key, folder, manifest) if complete else None

    def entries(self) -> list[Entry]:
        """Return all engines, newest first; damaged ones, without a manifest, last.

        Raises:
            EngineError: the folder cannot be read.
        """
        try:
            folders = [f for f in self.folder.iterdir() if f.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EngineError(f"cannot read {self.folder}: {error.strerror}") from None
        folders = sorted(f for f in folders if not f.name.startswith(UNFINISHED))
        entries = [Entry(folder.name, folder, _manifest(folder)) for folder in folders]
        return sorted(entries, key=lambda entry: entry.manifest.get("made", ""), reverse=True)

    def remove(self, entry: Entry) -> None:
        """Remove an engine.

        Raises:
            EngineError: its files cannot be removed.
        """
        try:
            self._discard(entry.folder)
        except OSError as error:
            raise EngineError(f"cannot remove {entry.folder}: {error.strerror}") from None

    def remove_timings(self) -> None:
        """Remove the times of kernels that were measured while engines were built.

        Raises:
            EngineError: a file cannot be removed.
        """
        try:
            for file in self.folder.glob(TIMINGS.format("*")):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise EngineError(f"cannot remove {file}: {error.strerror}") from None

    @contextmanager
    def create(
        self, key: str, manifest: dict[str, Any], *, replaces: bool = False
    ) -> Iterator[Path]:
        """Yield a folder to write an engine's files into; without an error it becomes the engine.

        `manifest` is stored as it is when the context ends, with the list of files and their
        digests. A complete engine already under the key stays, as others may be using it, unless
        the new one `replaces` it; figures without files replace those before them.

        Raises:
            EngineError: the folder cannot be written to.
        """
        with self._create(key, manifest, replaces=replaces) as folder:
            yield folder
        if self._shared and "psnr" in manifest:
            self._shared.upload(key, self.folder / key)

    def _fetch(self, key: str) -> bool:
        """Copy the engine of that key from `shared`; return whether it was there, and whole."""
        if self._shared is None or key in self._absent:
            return False
        self._absent.add(key)
        if (content := self._shared.manifest(key)) is None:
            return False
        try:
            manifest = _Manifest.model_validate(content)
            kept = {n: v for n, v in content.items() if n not in ("files", "made", "seconds")}
            with self._create(key, kept, replaces=False) as folder:
                self._shared.download(key, manifest.model_dump()["files"], folder)
        except Exception as error:  # Whatever a kind of store raises: it is built here then.
            self._shared.report(key, error)
            return False
        return True

    @contextmanager
    def _create(self, key: str, manifest: dict[str, Any], *, replaces: bool) -> Iterator[Path]:
        began = time.monotonic()
        with self._explain_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self.folder, UNFINISHED, unlocked_after_s=ABANDONED_S)
            unfinished = OwnedFolder(self.folder, UNFINISHED)
        try:
            yield unfinished.path
            with self._explain_errors():
                written = sorted(unfinished.path.iterdir())
                files = {file.name: _digest(file, _hash(file)) for file in written}
                now = datetime.now(UTC).isoformat(timespec="seconds")
                seconds = round(time.monotonic() - began, 1)
                content = manifest | {"made": now, "seconds": seconds, "files": files}
                text = json.dumps(content, indent=1)
                (unfinished.path / MANIFEST).write_text(text, encoding="utf-8")
                if replaces:
                    self._discard(self.folder / key)
                self._publish(unfinished.path, key)
        finally:
            unfinished.close()

    def _matches(self, file: Path, digest: object) -> bool:
        try:
            return _digest(file, self.hashes.file_hash(file)) == digest
        except OSError:
            return False

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EngineError(
                f"cannot store engines in {self.folder}: {error.strerror}; choose another folder"
                " with --set engine_dir=…"
            ) from None

    def _publish(self, finished: Path, key: str) -> None:
        """Rename a folder to its key; other processes may be doing the same at any moment."""
        target = self.folder / key
        for attempt in range(ATTEMPTS):
            try:
                finished.rename(target)
            except OSError:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return
            if existing := self._find_here(key):
                if not existing.manifest["files"]:
                    with suppress(FileNotFoundError):  # It was removed meanwhile.
                        (finished / MANIFEST).replace(target / MANIFEST)
                return
            self._discard(target)

    def _discard(self, folder: Path) -> None:
        # Moved away first: nobody sees half of it, nor writes into it meanwhile.
        trash = self.folder / f"{UNFINISHED}{folder.name}-{secrets.token_hex(4)}"
        with suppress(FileNotFoundError):  # Another process was quicker.
            folder.rename(trash)
            shutil.rmtree(trash)


def _manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest in `folder`, empty where it is missing or damaged."""
    try:
        text = (folder / MANIFEST).read_bytes()
        return _Manifest.model_validate_json(text).model_dump(exclude_none=True)
    except (OSError, ValueError):
        return {}


def _digest(file: Path, sha256: str) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": sha256}


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
