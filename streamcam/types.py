"""The architecture on one page: a Source gives Frames, a Stream changes them, a Sink takes them.

::

    with source, sink:
        for frame in source:
            for output in stream(frame, parameters):
                sink.send(output)
        for output in stream.drain(parameters):
            sink.send(output)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from streamcam.settings.parameters import Parameters
from streamcam.stats import Status
from streamcam.system.web_tokens import WebTokens

Image = NDArray[np.uint8]
"""``(H, W, 3)`` uint8 RGB."""
Bytes = NDArray[np.uint8]
"""An image in a packed or planar pixel format, of any shape."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a stream, with its number and the time it was captured."""

    image: Image
    index: int
    """Number of the frame, from 0."""
    captured_at: float
    """Seconds: of the monotonic clock for a live source, else from the start of the file."""
    packed: Bytes | None = None
    """The same image in the pixel format of the broadcast, if the device has made that too."""
    duration: float | None = None
    """Seconds that it is shown, where the file says so."""
    made_of: int | None = None
    """Index of the frame that the image was made of, where that is not this one but an earlier
    one that it resembles."""


class Source(Protocol):
    """Source of frames, in order, while it is entered (``with``)."""

    rate: Fraction
    """Frames per second."""
    length: int | None
    """Number of frames, if it is known beforehand."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def __iter__(self) -> Iterator[Frame]: ...


class LiveSource(Source, Protocol):
    """Source that gives frames as they happen, with times of the monotonic clock.

    It raises a StreamcamError when its device, connection or file is gone, and may then be
    entered again.
    """

    def stop(self) -> None:
        """End the iteration soon; may be called from any thread."""


class Stream(Protocol):
    """One frame in; none, one or several out, in order, each for the input frame it belongs to."""

    chunk: int
    """Number of frames that one call of the model takes."""

    def __call__(self, frame: Frame, parameters: Parameters) -> Sequence[Frame]: ...

    def drain(self, parameters: Parameters) -> Sequence[Frame]:
        """Return the frames still in flight; the stream then starts again."""


class Sink(Protocol):
    """Takes frames in order while it is entered (``with``); raises StreamcamError if it cannot."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def send(self, frame: Frame) -> None: ...


@runtime_checkable
class PageSink(Protocol):
    """Sink that serves a page while it is entered."""

    url: str
    """Address for a browser."""


@runtime_checkable
class RecorderSink(Protocol):
    """Sink that records."""

    @property
    def recording(self) -> Path | None:
        """The video that is being written, None while there is none."""


@runtime_checkable
class SavingSink(Protocol):
    """Sink that saves files."""

    @property
    def saved(self) -> Path | None:
        """The file that was completed last, None before the first."""


class BroadcastView(Protocol):
    """State of a broadcast that its sinks may read, from any thread."""

    def input_frame(self) -> Frame | None:
        """Return the newest frame of the source, turned upright; None while there is none."""

    def control_image(self) -> Image | None:
        """Return the newest images that ControlNets are shown, side by side; None without any.

        They are sent only while somebody asks for them.
        """

    def status(self) -> Status:
        """Return frame rates, latencies, counts and states."""

    def parameters(self) -> Parameters:
        """Return the newest parameters, whether the model has them yet or not."""

    def applied_parameters(self) -> tuple[int, Parameters]:
        """Return the index of the first frame with the model's present parameters, and those."""

    def web_tokens(self) -> WebTokens:
        """Return the tokens that let another machine in to the preview."""

    def web_routes(self) -> Sequence[Any]:
        """Return the Starlette routes that are served with the preview's own, ahead of them."""
