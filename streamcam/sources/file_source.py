"""Base class of sources that number their images and time them by a fixed rate."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Self

from streamcam.types import Frame, Image


class FileSource(ABC):
    """Numbers and times the images that `images` yields, at `rate` frames per second."""

    def __init__(self, rate: Fraction, length: int | None) -> None:
        self.rate = rate
        self.length = length

    @abstractmethod
    def images(self) -> Iterable[Image]:
        """Yield every image ``(H, W, 3)`` uint8 RGB, in order, one in memory at a time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Close nothing; a source that holds a file open closes it here."""
        return

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self.images()):
            yield Frame(image, index, float(index / self.rate))
