"""Live playback of files, at their own pace and stamped with the clock."""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from threading import Event
from typing import Self

from streamcam.errors import MediaError
from streamcam.sources.file_source import FileSource
from streamcam.types import Frame, Image, Source

log = logging.getLogger(__name__)

LONGEST_S = 2.0
"""A longer delay is taken for a suspended machine, and not caught up with."""
REPEAT_S = 0.1
"""While a file holds a frame for long, it is given again so often: a source that gives nothing
counts as lost, and what is changed meanwhile shows."""


class LivePlayback:
    """The frames of a file at its own pace, stamped with the monotonic clock, over and over.

    A frame more than one period late is skipped where the reader was slow, so that the file stays
    on time. Where the decoder is slow, skipping would leave nothing: then the file runs slower.
    It never runs faster than it should.

    Args:
        open_source: opens the file; called for every round.
        loop: start again at the end.
        clock: monotonic seconds.
        wait: waits for so many seconds; returns True, at once, when the iteration is to end.

    Raises:
        MediaError: there is nothing to play.
    """

    length: int | None = None

    def __init__(
        self,
        open_source: Callable[[], Source],
        *,
        loop: bool,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        with open_source() as source:
            self.rate = source.rate
        self._open = open_source
        self._loop = loop
        self._clock = clock
        self._stopped = Event()
        self._wait = wait or self._stopped.wait

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Close nothing: the file is closed when the iteration ends."""
        return

    def stop(self) -> None:
        """End the iteration at once, for good; callable from any thread."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images()):
            yield Frame(image, index, self._clock())

    def _images(self) -> Generator[Image]:
        """Yield every image when it is due."""
        due: float | None = None
        shown: Image | None = None
        requested = self._clock()
        with closing(self._steps()) as steps:
            for image, step in steps:
                now = self._clock()
                due = now if due is None else due + step
                late, decoding = now - due, now - requested
                requested = now
                if step < late <= LONGEST_S and decoding < step:
                    shown = image
                    continue
                if late > step:
                    due = now
                while shown is not None and due - self._clock() > 2 * REPEAT_S:
                    if self._wait(REPEAT_S):
                        return
                    yield shown
                if self._wait(max(0.0, due - self._clock())):
                    return
                if image is None:
                    return
                yield image
                shown = image
                requested = self._clock()

    def _steps(self) -> Generator[tuple[Image | None, float]]:
        """Yield every image and the seconds since the one before, round after round.

        None comes after the very last image, where it is known how long that is shown.
        """
        period = step = float(1 / self.rate)
        problem = ""
        while True:
            last: Frame | None = None
            try:
                with self._open() as source:
                    for frame in source:
                        if last is not None:
                            step = frame.captured_at - last.captured_at
                        last = frame
                        yield frame.image, step if step > 0 else period
            except MediaError as error:
                if last is None:
                    raise
                # The readable part was shown; a damaged end counts as the end.
                if problem != str(error):
                    log.warning("%s", error)
                problem = str(error)
            if last is None:
                return
            step = last.duration or period
            if not self._loop:
                if last.duration:
                    yield None, step
                return


class RepeatedImage(FileSource):
    """The first image of a file, repeated for ever."""

    def __init__(self, open_source: Callable[[], Source]) -> None:
        with open_source() as source:
            self._image = next(iter(source)).image
            super().__init__(source.rate, length=None)

    def images(self) -> Iterator[Image]:
        while True:
            yield self._image
