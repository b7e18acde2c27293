"""Engines that several machines share: a folder behind a URL, in the layout of `Store`.

fsspec reads and writes it, so that it may be a network drive, S3, or any other kind that is
installed. Whoever can write there decides what these machines run.
"""

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from streamcam.errors import ConfigError, EngineError, one_line
from streamcam.redaction import redacted

MANIFEST = "manifest.json"
MAX_MANIFEST = 1_000_000
"""Bytes."""
MAX_FILE = 64_000_000_000
CHUNK = 1 << 20
NAME = re.compile(r"[A-Za-z0-9_][\w.+-]{0,200}")
"""Matches names of files: none is a path."""


class SharedEngines:
    """The engines behind a URL; where it cannot be reached, there are none.

    Args:
        url: of the folder, such as ``s3://bucket/engines``, or a path.
        report: takes lines for the user.

    Raises:
        ConfigError: no package reads such a URL.
    """

    def __init__(self, url: str, report: Callable[[str], None]) -> None:
        import fsspec

        self._url = redacted(url)
        try:
            self._files, self._folder = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"engine_store {self._url}: {one_line(error)}") from None
        self._report = report
        self._has_failed = False

    def manifest(self, key: str) -> dict[str, Any] | None:
        """Return the manifest of the engine of that key; None where there is none."""
        try:
            with self._files.open(self._path(key, MANIFEST), "rb") as opened:
                text = opened.read(MAX_MANIFEST + 1)
            if len(text) > MAX_MANIFEST:
                raise ValueError("its manifest is too long")
            content: dict[str, Any] = json.loads(text)
            _check_names(content["files"])
        except FileNotFoundError:
            return None
        except Exception as error:  # Whatever a kind of store raises: engines are built here then.
            self._warn(f"engine {key} cannot be read", error)
            return None
        return content

    def download(self, key: str, files: Mapping[str, Any], folder: Path) -> None:
        """Write the `files` of an engine to `folder`.

        Raises:
            EngineError: one is not as its manifest has it.
            OSError: one cannot be read or written.
        """
        for name, expected in files.items():
            digest, size = hashlib.sha256(), 0
            with (
                self._files.open(self._path(key, name), "rb") as opened,
                (folder / name).open("wb") as target,
            ):
                while chunk := opened.read(CHUNK):
                    size += len(chunk)
                    if size > min(int(expected["bytes"]), MAX_FILE):
                        break
                    digest.update(chunk)
                    target.write(chunk)
            if size != expected["bytes"] or digest.hexdigest() != expected["sha256"]:
                raise EngineError(f"{name} of engine {key} in {self._url} is damaged")

    def upload(self, key: str, folder: Path) -> None:
        """Store the engine in `folder`, the manifest last: without it there is no engine."""
        try:
            self._files.makedirs(self._path(key), exist_ok=True)
            names = sorted(file.name for file in folder.iterdir())
            for name in sorted(names, key=lambda name: name == MANIFEST):
                unfinished = self._path(key, f".{name}")
                # A reader of a file system sees the old file or the new one.
                self._files.put_file(str(folder / name), unfinished)
                self._files.mv(unfinished, self._path(key, name))
        except Exception as error:  # It runs here all the same.
            self._warn(f"engine {key} cannot be stored", error)

    def report(self, key: str, error: Exception) -> None:
        """Log why an engine that is there cannot be used."""
        self._warn(f"engine {key} cannot be used", error)

    def _path(self, *parts: str) -> str:
        return posixpath.join(self._folder, *parts)

    def _warn(self, failure: str, error: Exception) -> None:
        if not self._has_failed:  # Once is enough: a store that is away is so for every engine.
            self._report(f"engine_store {self._url}: {failure}: {redacted(one_line(error)):.300}")
        self._has_failed = True


def shared_engines(url: str | None, report: Callable[[str], None]) -> SharedEngines | None:
    """Return the engines behind `url`; None where none is given.

    Raises:
        ConfigError: no package reads such a URL.
    """
    return SharedEngines(url, report) if url else None


def _check_names(files: Mapping[str, Any]) -> None:
    """Raise ValueError for files that are no plain files of an engine."""
    for name, expected in files.items():
        if not NAME.fullmatch(name) or name == MANIFEST:
            raise ValueError(f"{name!r:.80} is no name of a file")
        if not 0 <= int(expected["bytes"]) <= MAX_FILE or len(str(expected["sha256"])) != 64:
            raise ValueError(f"{name} has no size or no digest")
