"""Output files that appear complete: written under a temporary name, then moved to their own."""

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
    """A sink that writes to `temporary_path` and moves the complete file to `path`.

    After an error nothing is left. After an interruption, and after a crash of the whole
    process, what was rendered so far stays under the temporary name, which is then not taken again.

    Args:
        path: where the complete file is to be.
        overwrite: whether it may take the place of an existing file.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        self.temporary_path = temporary_path(path)
        self._overwrite = overwrite
        self._shape: tuple[int, ...] | None = None

    @abstractmethod
    def create(self) -> None:
        """Create `temporary_path` and open it for writing.

        Raises:
            FileExistsError: there is something of that name.
        """

    @abstractmethod
    def write(self, frame: Frame) -> None:
        """Append one frame."""

    @abstractmethod
    def finish(self) -> None:
        """Make `temporary_path` a complete file and close it."""

    @abstractmethod
    def abort(self) -> None:
        """Close `temporary_path` without completing it; must not raise."""

    def __enter__(self) -> Self:
        self.begin()
        return self

    def begin(self) -> None:
        """Create the file under the first temporary name that is free.

        Raises:
            MediaError: it cannot be created.
        """
        with self.explained_errors():
            for path in numbered_paths(temporary_path(self.path)):
                self.temporary_path = path
                try:
                    self.create()
                except FileExistsError:
                    continue
                except BaseException:
                    self.discard()
                    raise
                return

    def send(self, frame: Frame) -> None:
        """Append `frame`, which must have the size of those before it.

        Raises:
            MediaError: it has another size, or cannot be written.
        """
        shape = frame.image.shape
        if self._shape not in (None, shape):
            raise MediaError(f"frame {frame.index} is {_size(shape)}, not {_size(self._shape)}")
        with self.explained_errors():
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
            with self.explained_errors():
                self.finish()
        except MediaError:
            self.discard()
            raise
        if kind is None:
            self.publish()

    def publish(self) -> None:
        """Give the complete file its own name.

        Raises:
            MediaError: it cannot have it; it is then kept under the temporary name.
        """
        try:
            self.move()
        except OSError as error:
            raise MediaError(
                f"cannot write {self.path}: {explain_os_error(error)};"
                f" the complete output is {self.temporary_path}"
            ) from None

    def move(self) -> None:
        """Rename the complete file to `path`."""
        if self._overwrite:
            self.temporary_path.replace(self.path)
        else:
            rename_to_free(self.temporary_path, self.path)

    def discard(self) -> None:
        """Close and delete what was written."""
        self.abort()
        if self.temporary_path.is_dir():
            shutil.rmtree(self.temporary_path, ignore_errors=True)
        else:
            self.temporary_path.unlink(missing_ok=True)

    @contextmanager
    def explained_errors(self) -> Iterator[None]:
        """Raise an OSError of the block as a MediaError of one line, with the remedy."""
        try:
            yield
        except OSError as error:
            raise MediaError(f"cannot write {self.path}: {explain_os_error(error)}") from None


def _size(shape: tuple[int, ...] | None) -> str:
    return f"{shape[1]}x{shape[0]}" if shape else "nothing"


def temporary_path(path: Path) -> Path:
    """Return the name of the output until it is complete: ``out.partial.mkv`` for ``out.mkv``."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def numbered_paths(path: Path) -> Iterator[Path]:
    """Yield ``out.mkv``, ``out-2.mkv``, ``out-3.mkv``, … for ever."""
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def rename_to_free(old: Path, new: Path) -> None:
    """Rename a file, never over another one: Python's own rename would replace that.

    Raises:
        FileExistsError: `new` exists, be it a link that leads nowhere.
    """
    try:
        new.hardlink_to(old)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # Not every disk has hard links.
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new)) from None
        old.rename(new)
    else:
        old.unlink()


def explain_os_error(error: OSError) -> str:
    """Return the reason for a failed write to disk, with the remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space or choose another place"
    if error.errno == errno.EFBIG:
        return "the file grew beyond the size allowed here; choose another place"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{os.strerror(error.errno)}; choose a place you may write to"
    return error.strerror or str(error)
