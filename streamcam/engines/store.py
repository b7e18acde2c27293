"""Engines on disk: each a complete folder named by the hash of its cache key, with a manifest."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamcam.errors import EngineError
from streamcam.paths import engines_folder, expanded

MANIFEST = "manifest.json"
UNFINISHED = ".making-"
"""Begins the names of folders that are still being written."""
ABANDONED_S = 24 * 3600


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
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


class Store:
    """A folder of engines; any number of processes may share it."""

    def __init__(self, folder: str | Path | None = None) -> None:
        """Use `folder`, by default one in the user's cache.

        Raises:
            StreamcamError: no home folder is known to find it in.
        """
        self.folder = engines_folder() if folder is None else expanded(folder)

    def find(self, key: str) -> Entry | None:
        """Return the engine of that key, None where it is missing, incomplete or damaged."""
        folder = self.folder / key
        manifest = _manifest(folder)
        complete = manifest and all(
            _matches(folder / name, digest) for name, digest in manifest["files"].items()
        )
        return Entry(key, folder, manifest) if complete else None

    def entries(self) -> list[Entry]:
        """Return all engines, newest first; damaged ones, without a manifest, last."""
        folders = [f for f in _folders(self.folder) if not f.name.startswith(UNFINISHED)]
        entries = [Entry(folder.name, folder, _manifest(folder)) for folder in folders]
        return sorted(entries, key=lambda entry: entry.manifest.get("made", ""), reverse=True)

    def remove(self, entry: Entry) -> None:
        """Remove an engine.

        Raises:
            EngineError: its files cannot be removed.
        """
        try:
            shutil.rmtree(entry.folder)
        except OSError as error:
            raise EngineError(f"cannot remove {entry.folder}: {error.strerror}") from None

    @contextmanager
    def create(self, key: str, manifest: dict[str, Any]) -> Iterator[Path]:
        """Yield a folder to write an engine's files into; without an error it becomes the engine.

        `manifest` is stored as it is when the context ends, with the list of files and their
        digests. An engine already under the key is replaced.

        Raises:
            EngineError: the folder cannot be written to.
        """
        began = time.monotonic()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
        except OSError as error:
            raise EngineError(
                f"cannot store engines in {self.folder}: {error.strerror}; choose another folder"
                " with --set engine_dir=…"
            ) from None
        try:
            yield unfinished
            files = {file.name: _digest(file) for file in sorted(unfinished.iterdir())}
            now = datetime.now(UTC).isoformat(timespec="seconds")
            seconds = round(time.monotonic() - began, 1)
            content = manifest | {"made": now, "seconds": seconds, "files": files}
            (unfinished / MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")
            self._publish(unfinished, key)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _publish(self, finished: Path, key: str) -> None:
        if (self.folder / key).exists():
            # A folder that is not empty cannot be renamed over: the old one is moved away first.
            trash = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
            (self.folder / key).rename(trash / key)
            shutil.rmtree(trash, ignore_errors=True)
        finished.rename(self.folder / key)

    def _remove_abandoned(self) -> None:
        """Remove the unfinished folders of builds that were killed."""
        for folder in _folders(self.folder):
            abandoned = folder.stat().st_mtime < time.time() - ABANDONED_S
            if folder.name.startswith(UNFINISHED) and abandoned:
                shutil.rmtree(folder, ignore_errors=True)


def _folders(parent: Path) -> list[Path]:
    return sorted(f for f in parent.iterdir() if f.is_dir()) if parent.is_dir() else []


def _manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest in `folder`, empty where it is missing or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    files = manifest.get("files") if isinstance(manifest, dict) else None
    return manifest if isinstance(files, dict) else {}


def _matches(file: Path, digest: object) -> bool:
    try:
        return _digest(file) == digest
    except OSError:
        return False


def _digest(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": sha256}
