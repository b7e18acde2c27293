"""Files that come into being whole: written under another name, moved when complete."""

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from streamcam.errors import MediaError
from streamcam.types import Frame


class AtomicOutput(ABC):
    """A sink that writes to `partial` beside `path` and moves it there when it is whole.

    After an error nothing is left. After an interruption, and after a crash of the whole
    process, what was rendered so far stays under the partial name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = temporary_path(path)
        self._shape: tuple[int, ...] | None = None

    @abstractmethod
    def begin(self) -> None:
        """Open `partial` for writing."""

    @abstractmethod
    def write(self, frame: Frame) -> None:
        """Append one picture."""

    @abstractmethod
    def finish(self) -> None:
        """Make `partial` a complete file and close it."""

    @abstractmethod
    def abandon(self) -> None:
        """Close `partial` without completing it; must not raise."""

    def __enter__(self) -> Self:
        try:
            with self.reporting():
                self.begin()
        except BaseException:
            self.discard()
            raise
        return self

    def send(self, frame: Frame) -> None:
        shape = frame.image.shape
        if self._shape not in (None, shape):
            raise MediaError(f"frame {frame.index} is {_size(shape)}, not {_size(self._shape)}")
        with self.reporting():
            self.write(frame)
        self._shape = shape

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and (self._shape is None or issubclass(kind, Exception)):
            self.discard()
            return
        try:
            with self.reporting():
                self.finish()
                if kind is None:
                    self.publish()
        except MediaError:
            self.discard()
            raise

    def publish(self) -> None:
        """Move the complete file to its own name, over what stood there."""
        self.partial.replace(self.path)

    def discard(self) -> None:
        """Leave nothing behind."""
        self.abandon()
        if self.partial.is_dir():
            shutil.rmtree(self.partial, ignore_errors=True)
        else:
            self.partial.unlink(missing_ok=True)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Turn what the system says of a failed write into one line with the remedy."""
        try:
            yield
        except OSError as error:
            raise MediaError(f"cannot write {self.path}: {explain_os_error(error)}") from None


def _size(shape: tuple[int, ...] | None) -> str:
    return f"{shape[1]}x{shape[0]}" if shape else "nothing"


def temporary_path(path: Path) -> Path:
    """Return where the output lies until it is whole: ``out.partial.mkv`` beside ``out.mkv``."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def numbered_paths(path: Path) -> Iterator[Path]:
    """Yield ``out.mkv``, ``out-2.mkv``, ``out-3.mkv``, … for ever."""
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def explain_os_error(error: OSError) -> str:
    """Return what went wrong with a write to disk, and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space or choose another place"
    if error.errno == errno.EFBIG:
        return "the file grew beyond the size allowed here; choose another place"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{os.strerror(error.errno)}; choose a place you may write to"
    return error.strerror or str(error)
