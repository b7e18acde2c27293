"""Thread for a loop that must not end: whatever it raises is logged, and it is run again."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from streamcam.errors import StreamcamError, one_line
from streamcam.system.backoff import Backoff

log = logging.getLogger(__name__)

MAX_FAILURES = 8
"""Runs in a row, each shorter than `STEADY_S`, after which a loop that may give up does so."""
STEADY_S = 1.0
PAUSE_STEP_S = 0.1
"""Seconds after which a pause notices that it shall end."""


class SupervisedThread:
    """Run `loop` in a daemon thread until it returns; run it again whenever it raises.

    Args:
        name: of the thread, and of the loop in the log.
        loop: called without arguments, again and again until it returns.
        stopping: once it is set, nothing is run again, and a pause ends.
        on_error: called in the thread with whatever `loop` raised; by default it is logged.
        on_give_up: called in the thread, once, when `loop` has failed at once `MAX_FAILURES`
            times in a row. Without it, `loop` is run again for ever.
        backoff: the pauses between two runs.
    """

    def __init__(
        self,
        name: str,
        loop: Callable[[], object],
        stopping: threading.Event,
        *,
        on_error: Callable[[BaseException], None] | None = None,
        on_give_up: Callable[[StreamcamError], None] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self._loop = loop
        self._stopping = stopping
        self._on_error = on_error or self._log
        self._on_give_up = on_give_up
        self._backoff = backoff or Backoff()
        self._no_pause = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name=name, daemon=True)

    def start(self) -> None:
        """Start the loop; returns at once.

        Raises:
            StreamcamError: the system has no room for another thread.
        """
        try:
            self._thread.start()
        except RuntimeError:
            raise StreamcamError(
                f"cannot start the thread {self.name}: this user has too many processes and"
                ' threads; end some, or raise the limit that "ulimit -u" shows'
            ) from None

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the loop has ended, `timeout_s` at most; returns at once if it never began."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def run_again_now(self) -> None:
        """End the pause after an error, if there is one; returns at once."""
        self._no_pause.set()

    def is_alive(self) -> bool:
        """Return whether the loop runs, or will run again."""
        return self._thread.is_alive()

    def _supervise(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            self._no_pause.clear()
            try:
                self._loop()
                return
            except BaseException as error:  # Even a plugin's sys.exit is no reason to stop.
                ran_s = time.monotonic() - began
                failures = 1 if ran_s >= STEADY_S else failures + 1
                with suppress(Exception):  # Without memory even the report may fail.
                    self._on_error(error)
                if self._on_give_up and failures >= MAX_FAILURES:
                    self._on_give_up(
                        StreamcamError(
                            f"the thread {self.name} fails again and again: {one_line(error)}"
                        )
                    )
                    return
            self._pause(self._backoff.next(healthy_s=ran_s))

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0 and not self._no_pause.is_set():
                if self._stopping.wait(min(left, PAUSE_STEP_S)):
                    return
        except Exception:
            time.sleep(seconds)  # Without memory there is no lock to wait for either.

    def _log(self, error: BaseException) -> None:
        log.error("the thread %s failed; running it again", self.name, exc_info=error)
