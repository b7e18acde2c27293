"""Work with files on behalf of messages, in a thread that may wait for a slow disk."""

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event
from typing import Self

from streamcam.errors import ParameterError, StreamcamError, one_line, printable
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

MAX_WAITING = 32
"""Jobs that may wait for the disk."""
STOP_S = 2.0
"""Seconds that the last of them have at the end of a broadcast."""

Job = Callable[[], str]
"""Does what was asked for; returns a line on it, or raises."""
Tell = Callable[[str], None]
"""Takes that line, or what went wrong."""


class FileJobs:
    """Does jobs one after the other, from its entering on; whoever adds one goes on at once."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Job, Tell] | None] = SimpleQueue()
        self._stopping = Event()
        self._thread = SupervisedThread("files", self._work, self._stopping)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._jobs.put(None)
        self._thread.join(STOP_S)
        self._stopping.set()

    def add(self, job: Job, tell: Tell) -> None:
        """Do `job` later, log what came of it, and pass that to `tell`.

        Raises:
            ParameterError: too many are waiting.
        """
        if self._jobs.qsize() >= MAX_WAITING:
            raise ParameterError("the files before are not done yet: is the disk too slow?")
        self._jobs.put((job, tell))

    def _work(self) -> None:
        while wanted := self._jobs.get():
            job, tell = wanted
            try:
                line, level = job(), logging.INFO
            except StreamcamError as error:
                line, level = str(error), logging.WARNING
            except Exception as error:
                log.exception("a file could not be read or changed")
                line, level = f"that could not be done: {one_line(error)}", logging.WARNING
            line = printable(line)
            log.log(level, "%s", line)
            tell(line)
