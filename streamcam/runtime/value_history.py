"""Live values that the engine was sent: which worked, and which it crashed with again and again."""

from collections import deque
from typing import NamedTuple

from streamcam.control.model_values import Item, items_of
from streamcam.settings.parameters import Parameters

WORKED_AFTER_S = 30.0
"""Seconds that an engine must have run with values before a crash is not blamed on them."""
REMEMBERED = 2000
"""Snapshots: those of a fade of half a minute."""


FIRST_VERSION = 1


class Sent(NamedTuple):
    """A snapshot, and when the engine was sent it first."""

    at: float
    """Seconds on the monotonic clock."""
    version: int
    parameters: Parameters


class ValueHistory:
    """Remembers the snapshots that an engine was sent, and blames crashes on new values.

    A value is blamed that was new in two crashes, one after the other: a process may be killed
    once for reasons of its own.
    """

    def __init__(self, first: Parameters, now: float) -> None:
        self.worked = first
        """The newest snapshot that is known to work."""
        self._sent = deque([Sent(now, FIRST_VERSION, first)], maxlen=REMEMBERED)
        self._suspects: set[Item] = set()

    def succeed(self, before: "ValueHistory") -> None:
        """Go on with what is known of another engine's values."""
        self.worked = before.worked
        self._suspects = before._suspects

    def add(self, parameters: Parameters, version: int, now: float) -> None:
        """Note that the engine is sent `parameters` from now on."""
        self._sent.append(Sent(now, version, parameters))

    def of_version(self, version: int) -> Parameters:
        """Return the snapshot of a version, or one that works if it is forgotten."""
        return next(
            (sent.parameters for sent in self._sent.copy() if sent.version == version), self.worked
        )

    def crashed(self, running_since: float, alive_at: float) -> set[Item]:
        """Return the values that a crash is blamed on; none at the first one.

        Args:
            running_since: when the engine that crashed had been loaded.
            alive_at: when it gave its last sign of life.
        """
        sent = list(self._sent.copy())
        proven_at = alive_at - WORKED_AFTER_S
        if proven_at >= running_since:
            proven = [entry.parameters for entry in sent if entry.at <= proven_at]
            self.worked = proven[-1] if proven else self.worked
        new = items_of(sent[-1].parameters) - items_of(self.worked)
        blamed, self._suspects = new & self._suspects, new
        return blamed
