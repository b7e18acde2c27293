"""The house on one page: a Source gives Frames, a Stream turns them, a Sink takes them.

::

    with source, sink:
        for frame in source:
            for picture in stream(frame, parameters):
                sink.send(picture)
        for picture in stream.drain(parameters):
            sink.send(picture)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from streamcam.settings.parameters import Parameters
from streamcam.stats import Status

Image = NDArray[np.uint8]
"""``(H, W, 3)`` uint8 RGB."""
Bytes = NDArray[np.uint8]
"""A picture in some pixel format, of any shape."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: where it stands in its stream, and when it was taken."""

    image: Image
    index: int
    captured_at: float
    """Seconds: monotonic for a camera, from the start of the file otherwise."""
    packed: Bytes | None = None
    """The same picture in the broadcast's pixel format, where the device has made that too."""


class Source(Protocol):
    """Gives frames in order while it is entered."""

    rate: Fraction
    """Frames per second."""
    length: int | None
    """Number of frames, where it is known beforehand."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def __iter__(self) -> Iterator[Frame]: ...


class LiveSource(Source, Protocol):
    """Gives frames as they happen, stamped with the monotonic clock.

    It raises a StreamcamError when what it reads is gone, and may then be entered anew.
    """

    def stop(self) -> None:
        """Have the iteration end soon, from any thread."""


class Stream(Protocol):
    """One frame in; zero, one or many out, in order, each for the frame it belongs to."""

    chunk: int
    """Frames that one call of the model takes."""

    def __call__(self, frame: Frame, parameters: Parameters) -> Sequence[Frame]: ...

    def drain(self, parameters: Parameters) -> Sequence[Frame]:
        """Return the frames still in flight; the stream then starts anew."""


class Sink(Protocol):
    """Takes frames in order while it is entered; raises a StreamcamError when it cannot."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def send(self, frame: Frame) -> None: ...


class BroadcastView(Protocol):
    """What a broadcast lets its sinks see beside the pictures; safe to call from any thread."""

    def input_frame(self) -> Frame | None:
        """Return the newest frame that came in, turned upright; None while there is none."""

    def status(self) -> Status:
        """Return how the broadcast fares."""

    def parameters(self) -> Parameters:
        """Return the newest snapshot, whether the model has it yet or not."""

    def applied_parameters(self) -> tuple[int, Parameters]:
        """Return the snapshot that the model has, and the index of the first frame it ruled."""
