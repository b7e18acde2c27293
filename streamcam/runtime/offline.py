"""Render: the Stream that runs live, over a file: every frame, in order, no clock."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from itertools import islice

from streamcam.pixels import oriented
from streamcam.runtime.switcher import Inputs, Switcher
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame, Sink, Source, Stream

ParametersAt = Callable[[int, Parameters], Parameters]
"""The snapshot from a frame on, given the one before it."""


def render(
    source: Source,
    stream: Stream,
    sink: Sink,
    *,
    config: Config,
    parameters_at: ParametersAt,
    frames: int | None = None,
) -> Generator[int]:
    """Run `frames` of `source` (default: all) through `stream` into `sink`.

    Yields:
        The number of pictures written so far, each time there are more of them.
    """
    parameters, written = config.live, 0
    finish = _Finish(config)
    with source, sink:
        for frame in islice(source, frames):
            parameters = parameters_at(frame.index, parameters)
            image = oriented(frame.image, parameters.rotate, mirror=parameters.mirror)
            upright = replace(frame, image=image)
            finish.expect(upright, parameters)
            written += _send(map(finish, stream(upright, parameters)), sink)
            yield written
        written += _send(map(finish, stream.drain(parameters)), sink)
        yield written


class _Finish:
    """Does to each picture what the desk would have done on air, at the moment of its frame."""

    def __init__(self, config: Config) -> None:
        canvas = (config.width, config.height)
        broadcast = config.broadcast.model_copy(update={"canvas": canvas})
        self._switcher = Switcher(config.model_copy(update={"broadcast": broadcast}))
        self._expected: deque[tuple[Frame, Parameters]] = deque()

    def expect(self, frame: Frame, parameters: Parameters) -> None:
        """Note a frame that goes in, and the snapshot it goes in with."""
        self._expected.append((frame, parameters))

    def __call__(self, picture: Frame) -> Frame:
        camera, parameters = self._expected.popleft()
        feeds = Inputs(camera, picture, detail="", source=None)
        return replace(picture, image=self._switcher.compose(feeds, parameters))


def _send(pictures: Iterable[Frame], sink: Sink) -> int:
    count = 0
    for picture in pictures:
        sink.send(picture)
        count += 1
    return count
