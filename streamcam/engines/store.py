"""Engines on disk: each a folder under its key, whole or not there, with a manifest beside."""

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

from platformdirs import user_cache_path

from streamcam.errors import EngineError

MANIFEST = "manifest.json"
UNFINISHED = ".making-"
ABANDONED_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Entry:
    """An engine in the store."""

    key: str
    folder: Path
    manifest: Mapping[str, Any]
    """What it was made from and for, and how it did: see `Store.making`; empty if damaged."""

    @property
    def bytes(self) -> int:
        """Return what it takes on disk."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


class Store:
    """Keeps engines in `folder`; any number of processes may share it."""

    def __init__(self, folder: str | Path | None = None) -> None:
        """Take `folder`, or one in the user's cache."""
        default = user_cache_path("streamcam") / "engines"
        self.folder = default if folder is None else Path(folder)

    def find(self, key: str) -> Entry | None:
        """Return the engine of that key, None where it is missing, half or damaged."""
        folder = self.folder / key
        manifest = _manifest(folder)
        whole = manifest and all(_is(folder / n, how) for n, how in manifest["files"].items())
        return Entry(key, folder, manifest) if whole else None

    def entries(self) -> list[Entry]:
        """Return all engines, newest first; damaged ones, without a manifest, last."""
        folders = [f for f in _folders(self.folder) if not f.name.startswith(UNFINISHED)]
        found = [Entry(folder.name, folder, _manifest(folder)) for folder in folders]
        return sorted(found, key=lambda entry: entry.manifest.get("made", ""), reverse=True)

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
    def making(self, key: str, about: dict[str, Any]) -> Iterator[Path]:
        """Give a folder to write an engine's files into; without an error it becomes the engine.

        `about` goes into the manifest as it is when the files are complete. An engine already
        under the key is replaced.

        Raises:
            EngineError: the folder cannot be written to.
        """
        began = time.monotonic()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
        except OSError as error:
            raise EngineError(
                f"cannot keep engines in {self.folder}: {error.strerror}; choose another folder"
                " with --set engine_dir=…"
            ) from None
        try:
            yield unfinished
            files = {file.name: _fingerprint(file) for file in sorted(unfinished.iterdir())}
            now = datetime.now(UTC).isoformat(timespec="seconds")
            seconds = round(time.monotonic() - began, 1)
            manifest = about | {"made": now, "seconds": seconds, "files": files}
            (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            self._put(unfinished, key)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _put(self, made: Path, key: str) -> None:
        if (self.folder / key).exists():
            # A folder that holds something cannot be renamed over: the old one steps aside.
            aside = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
            (self.folder / key).rename(aside / key)
            shutil.rmtree(aside, ignore_errors=True)
        made.rename(self.folder / key)

    def _sweep(self) -> None:
        """Remove what builds that were killed have left."""
        for folder in _folders(self.folder):
            abandoned = folder.stat().st_mtime < time.time() - ABANDONED_S
            if folder.name.startswith(UNFINISHED) and abandoned:
                shutil.rmtree(folder, ignore_errors=True)


def _folders(parent: Path) -> list[Path]:
    return sorted(f for f in parent.iterdir() if f.is_dir()) if parent.is_dir() else []


def _manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest in `folder`, empty where it is missing or no manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    files = manifest.get("files") if isinstance(manifest, dict) else None
    return manifest if isinstance(files, dict) else {}


def _is(file: Path, fingerprint: object) -> bool:
    try:
        return _fingerprint(file) == fingerprint
    except OSError:
        return False


def _fingerprint(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}
