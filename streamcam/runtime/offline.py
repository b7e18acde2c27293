"""Render: the Stream that runs live, over a file: every frame, in order, no clock."""

from collections.abc import Callable, Generator, Iterable
from itertools import islice

from streamcam.parameters import Parameters
from streamcam.pixels import oriented
from streamcam.types import Frame, Sink, Source, Stream

ParametersAt = Callable[[int, Parameters], Parameters]
"""The snapshot from a frame on, given the one before it."""


def render(
    source: Source,
    stream: Stream,
    sink: Sink,
    *,
    parameters: Parameters,
    parameters_at: ParametersAt,
    frames: int | None = None,
) -> Generator[int]:
    """Run `frames` of `source` (default: all) through `stream` into `sink`.

    Yields:
        The number of pictures written so far, each time there are more of them.
    """
    written = 0
    with source, sink:
        for frame in islice(source, frames):
            parameters = parameters_at(frame.index, parameters)
            image = oriented(frame.image, parameters.rotate, mirror=parameters.mirror)
            upright = Frame(image, frame.index, frame.captured_at)
            written += _send(stream(upright, parameters), sink)
            yield written
        written += _send(stream.drain(parameters), sink)
        yield written


def _send(pictures: Iterable[Frame], sink: Sink) -> int:
    count = 0
    for picture in pictures:
        sink.send(picture)
        count += 1
    return count
