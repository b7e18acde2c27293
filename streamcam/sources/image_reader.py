"""Image files as sources: one image or animation, or a folder of images in the order of names."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from PIL.ImageFile import ImageFile

from streamcam.errors import MediaError
from streamcam.sources.file_source import FileSource
from streamcam.sources.image_colours import Tags
from streamcam.sources.image_decoder import DAMAGED, decode, opened_image
from streamcam.sources.image_suffixes import IMAGE_SUFFIXES
from streamcam.types import Frame, Image

log = logging.getLogger(__name__)

Report = Callable[[str], None]
"""Takes a line about what is damaged and was skipped."""

SHORTEST_MS, INSTEAD_MS = 10, 100
"""A frame that is to be shown for 10 ms or less is shown for 100 ms, as in all browsers."""
MAX_DAMAGED_IN_A_ROW = 50
"""The rest counts as damaged too: a file may claim to have billions of frames."""
REDUCED_OR_MASK = 0b101
"""Bits of the tag "new subfile type" of a page of a TIFF that is no page to be looked at."""
SUBFILE_TYPE = 254


class ImageReader(FileSource):
    """One image as a single frame; an animation as its frames at its own times; pages at `rate`.

    Frames of an animation that are damaged are skipped, and counted in a line to `report`.

    Raises:
        MediaError: it is damaged, or no image.
    """

    def __init__(self, path: Path, rate: Fraction, report: Report = log.warning) -> None:
        self._path, self._report = path, report
        self._only: Image | None = None
        with opened_image(path) as (image, tags):
            self._numbers = _frame_numbers(image)
            if len(self._numbers) == 1:
                image.seek(self._numbers[0])
                self._only = decode(image, tags, flatten=image.format == "GIF")
            elif _decoded(image, tags, self._numbers[0]) is not None and (
                shown := _duration(image)
            ):
                rate = 1 / shown
        super().__init__(rate, length=len(self._numbers))

    def images(self) -> Iterator[Image]:
        return (frame.image for frame in self)

    def __iter__(self) -> Iterator[Frame]:
        if self._only is not None:
            yield Frame(self._only, 0, 0.0)
        else:
            yield from self._frames()

    def _frames(self) -> Iterator[Frame]:
        index, time, damaged_in_a_row = 0, Fraction(0), 0
        with opened_image(self._path) as (image, tags):
            for number in self._numbers:
                decoded = _decoded(image, tags, number)
                shown = _duration(image) or 1 / self.rate
                if decoded is not None:
                    yield Frame(decoded, index, float(time), duration=float(shown))
                    index += 1
                time += shown
                damaged_in_a_row = damaged_in_a_row + 1 if decoded is None else 0
                if damaged_in_a_row == MAX_DAMAGED_IN_A_ROW:
                    break
        if not index:
            raise MediaError(f"cannot read the image {self._path}: all its frames are damaged")
        if damaged := len(self._numbers) - index:
            self._report(f"{self._path}: skipped {damaged} damaged frames of {index + damaged}")


class ImageFolderReader(FileSource):
    """Every image in a folder, ``2.png`` before ``10.png``.

    Args:
        report: takes a line about the images that cannot be read, which are then skipped;
            without it, such an image is an error.
    """

    def __init__(self, path: Path, rate: Fraction, report: Report | None = None) -> None:
        try:
            files = [p for p in path.iterdir() if _is_image(p)]
        except OSError as error:
            raise MediaError(f"cannot read {path}: {error.strerror}") from None
        if not files:
            raise MediaError(
                f"no images in {path}; it should hold {', '.join(IMAGE_SUFFIXES)} files"
            )
        super().__init__(rate, length=len(files))
        self._files = sorted(files, key=lambda p: (natural(p.name), p.name))
        self._report = report

    def images(self) -> Iterator[Image]:
        errors: list[MediaError] = []
        for file in self._files:
            try:
                image = read(file)
            except MediaError as error:
                errors.append(error)
                if self._report is None or len(errors) == len(self._files):
                    raise
            else:
                yield image
        if errors and self._report:
            more = f", and {len(errors) - 1} more images" if len(errors) > 1 else ""
            self._report(f"{errors[0]}{more}; skipped")


def _is_image(path: Path) -> bool:
    # Hidden files are passed over: on foreign disks macOS leaves a "._1.png" next to a "1.png".
    hidden = path.name.startswith(".")
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()


def natural(name: str) -> list[tuple[int, str]]:
    """Return the sort key of a name that counts digits as numbers."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read(path: Path) -> Image:
    """Return the image in `path`, ``(H, W, 3)`` uint8 sRGB, turned upright as its EXIF says.

    Raises:
        MediaError: it is damaged, or not an image.
    """
    return next(iter(ImageReader(path, Fraction(1)))).image


def _frame_numbers(image: ImageFile) -> Sequence[int]:
    """Return the numbers of the frames or pages of an open file that are to be shown."""
    if image.format in ("MPO", "HEIF"):
        # What comes with the image of a camera is a preview, or a map of its brightness.
        return [image.tell()]
    numbers = range(getattr(image, "n_frames", 1))
    if image.format == "PNG" and image.info.get("default_image"):
        # An image for programs that do not know of animations.
        return numbers[1:]
    if image.format == "TIFF":
        return [number for number in numbers if _is_page(image, number)] or [0]
    return numbers


def _is_page(image: ImageFile, number: int) -> bool:
    try:
        image.seek(number)
        return not image.tag_v2.get(SUBFILE_TYPE, 0) & REDUCED_OR_MASK  # type: ignore[attr-defined]
    except DAMAGED:
        return True  # It counts as damaged when it is decoded.


def _decoded(image: ImageFile, tags: Tags, number: int) -> Image | None:
    """Return a frame of an animation, or a page; None if it is damaged."""
    try:
        image.seek(number)
        return decode(image, tags, flatten=image.format != "TIFF")
    except DAMAGED:
        # Nothing is left to decode, so that the next frame can be sought.
        image.tile = []
        return None


def _duration(image: ImageFile) -> Fraction | None:
    """Return for how many seconds the present frame is shown; None for a page."""
    if image.format == "TIFF":
        return None
    duration_ms = image.info.get("duration", 0)
    return Fraction(duration_ms if duration_ms > SHORTEST_MS else INSTEAD_MS) / 1000
