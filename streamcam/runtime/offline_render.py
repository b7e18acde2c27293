"""Render offline: run the stream over a source, every frame in order, without a clock."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from itertools import islice

from streamcam.pixels import oriented
from streamcam.runtime.source_frames import SourceFrame
from streamcam.runtime.switcher import Inputs, Switcher
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame, Sink, Source, Stream

ParametersAt = Callable[[int, Parameters], Parameters]
"""Returns the snapshot for a frame index, given the snapshot before it."""


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
        The number of outputs written so far, after each frame of the source.
    """
    parameters, written = config.live, 0
    compositor = _Compositor(config)
    with source, sink:
        for frame in islice(source, frames):
            parameters = parameters_at(frame.index, parameters)
            image = oriented(frame.image, parameters.rotate, mirror=parameters.mirror)
            upright = replace(frame, image=image)
            compositor.expect(upright, parameters)
            written += _send(map(compositor, stream(upright, parameters)), sink)
            yield written
        written += _send(map(compositor, stream.drain(parameters)), sink)
        yield written


class _Compositor:
    """Compose each output as the switcher does on air, with the snapshot of its frame."""

    def __init__(self, config: Config) -> None:
        canvas = (config.width, config.height)
        broadcast = config.broadcast.model_copy(update={"canvas": canvas})
        self._switcher = Switcher(config.model_copy(update={"broadcast": broadcast}))
        self._expected: deque[tuple[Frame, Parameters]] = deque()

    def expect(self, frame: Frame, parameters: Parameters) -> None:
        """Remember a frame that goes into the stream, and its snapshot."""
        self._expected.append((frame, parameters))

    def __call__(self, output: Frame) -> Frame:
        camera, parameters = self._expected.popleft()
        source = SourceFrame(camera.index, camera.image, None)
        inputs = Inputs(camera, output, source=source)
        return replace(output, image=self._switcher.compose(inputs, parameters))


def _send(outputs: Iterable[Frame], sink: Sink) -> int:
    count = 0
    for output in outputs:
        sink.send(output)
        count += 1
    return count
