"""Image files as sinks: one file, or a folder of numbered PNGs."""

import os
from pathlib import Path

from PIL import Image as Pillow

from streamcam.errors import MediaError
from streamcam.sinks.atomic_file import AtomicOutput, explain_os_error
from streamcam.types import Frame


class ImageOutput(AtomicOutput):
    """Image files, which are complete as soon as they are written: there is nothing to close."""

    def finish(self) -> None:
        pass

    def abort(self) -> None:
        pass


class ImageWriter(ImageOutput):
    """One image file, for one frame."""

    def __init__(self, path: Path, length: int | None = None, *, overwrite: bool = False) -> None:
        super().__init__(path, overwrite=overwrite)
        self._written = False
        if length is not None and length > 1:
            raise self._too_many()

    def create(self) -> None:
        self.temporary_path.touch(exist_ok=False)

    def write(self, frame: Frame) -> None:
        if self._written:
            raise self._too_many()
        Pillow.fromarray(frame.image).save(self.temporary_path, quality=95)
        self._written = True

    def _too_many(self) -> MediaError:
        return MediaError(
            f"{self.path} holds one image, but there are more frames;"
            f" name a folder ({self.path.with_suffix('')}), a video or a .npy instead"
        )


class ImageFolderWriter(ImageOutput):
    """``000000.png``, ``000001.png``, … in a new or empty folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            is_folder = path.is_dir() and not path.is_symlink()
            occupied = os.path.lexists(path) and not (is_folder and not any(path.iterdir()))
        except OSError as error:
            raise MediaError(f"cannot write {path}: {explain_os_error(error)}") from None
        if occupied:
            raise MediaError(f"{path} exists and is not an empty folder; choose another name")

    def create(self) -> None:
        self.temporary_path.mkdir()

    def write(self, frame: Frame) -> None:
        # Under another name first: a crash then leaves complete images only.
        unfinished = self.temporary_path / "unfinished.tmp"
        Pillow.fromarray(frame.image).save(unfinished, format="PNG", compress_level=1)
        unfinished.rename(self.temporary_path / f"{frame.index:06d}.png")

    def move(self) -> None:
        if self.path.exists():
            self.path.rmdir()
        self.temporary_path.rename(self.path)
