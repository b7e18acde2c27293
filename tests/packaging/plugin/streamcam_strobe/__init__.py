"""A source that flashes, a sink that counts, and an engine that runs nowhere."""

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from streamcam import EngineError, Frame


class Strobe:
    """White and black frames in turns."""

    length = None

    def __init__(self, size: tuple[int, int], rate: Fraction) -> None:
        self.rate = rate
        self._size = size
        self._stopped = False

    def __enter__(self) -> "Strobe":
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def __iter__(self) -> Iterator[Frame]:
        width, height = self._size
        index = 0
        while not self._stopped:
            image = np.full((height, width, 3), 255 * (index % 2), np.uint8)
            yield Frame(image, index, time.monotonic())
            index += 1
            time.sleep(float(1 / self.rate))

    def stop(self) -> None:
        self._stopped = True


class Counter:
    """Writes the number of frames it was sent, and how bright the last ones were, to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._seen: set[int] = set()

    def __enter__(self) -> "Counter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._path.write_text(f"{self._count} {sorted(self._seen)}")

    def send(self, frame: Frame) -> None:
        self._count += 1
        self._seen.add(int(frame.image[0, 0, 0]))


def open_strobe(_which: str, settings: Any) -> Strobe:
    return Strobe(settings.canvas, Fraction(settings.rate))


def open_counter(which: str, _settings: Any, _view: Any) -> Counter:
    return Counter(Path(which))


def halting_engine(device: Any, _dtype: Any) -> Any:
    raise EngineError(f"halting runs nowhere, least of all on {device}")
