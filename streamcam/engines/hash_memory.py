"""Hashes of files and of weights, remembered from start to start while their files are the same.

A hash is only looked up for the very identity of the files (`system/file_identity.py`) that it was
computed from. What cannot be read, or may come from someone else, is computed again.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from streamcam.system.file_identity import identity
from streamcam.system.private_file import read_private, replace_private
from streamcam.system.regular_file import open_regular

FILE = "hashes.json"
MAX_BYTES = 4 * 1024**2
MAX_ENTRIES = 4096


class _Remembered(BaseModel):
    identity: str
    sha256: str


class _Content(BaseModel):
    hashes: dict[str, _Remembered]
    """The newest last."""


class HashMemory:
    """The file that hashes are remembered in; any number of processes may share it.

    Args:
        folder: of the file; where nothing can be written, nothing is remembered.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    def file_hash(self, path: Path) -> str:
        """Return the SHA-256 of the file at `path`.

        Raises:
            OSError: it cannot be read.
        """
        name = printable_path(path)
        before = identity(path)
        if remembered := self.recall(name, before):
            return remembered
        with open_regular(path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        if identity(path) == before:
            self.remember(name, before, sha256)
        return sha256

    def recall(self, name: str, of: str | None) -> str | None:
        """Return the hash of that name that was computed from files of the identity `of`."""
        found = None if of is None else self._read().get(name)
        return found.sha256 if found and found.identity == of else None

    def remember(self, name: str, of: str | None, sha256: str) -> None:
        """Remember a hash; without effect where the files have no identity yet."""
        if of is None:
            return
        # Two processes may lose each other's hash here, which costs computing it once more.
        hashes = self._read()
        hashes.pop(name, None)
        hashes[name] = _Remembered(identity=of, sha256=sha256)
        newest = dict(list(hashes.items())[-MAX_ENTRIES:])
        with suppress(OSError):
            replace_private(self._file, _Content(hashes=newest).model_dump_json(indent=1).encode())

    def _read(self) -> dict[str, _Remembered]:
        with suppress(OSError, ValidationError):
            return _Content.model_validate_json(read_private(self._file, MAX_BYTES)).hashes
        return {}


def printable_path(path: Path) -> str:
    """Return `path` as text that JSON can hold."""
    return str(path).encode("utf-8", "backslashreplace").decode()
