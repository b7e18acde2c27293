"""What the file sources share: nothing to hold open, frames counted and timed by a rate."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Self

from streamcam.types import Frame, Image


class FileSource(ABC):
    """Number and time the pictures that `images` yields."""

    def __init__(self, rate: Fraction, length: int | None) -> None:
        self.rate = rate
        self.length = length

    @abstractmethod
    def images(self) -> Iterable[Image]:
        """Yield every picture, in order, one in memory at a time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go; a source that holds a file open closes it here."""
        return

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self.images()):
            yield Frame(image, index, float(index / self.rate))
