"""Replay calls that are the same every time as graphs, and run them plainly until then.

A graph holds the addresses that its kernels read and write: a call that is recorded must work on
memory that stays where it is (`streamcam.engines.fixed_memory`). What is new from call to call is
copied into that memory, so no value is ever a reason to record again.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streamcam.errors import one_line

Call = Callable[[], None]
"""Launches work on the device, and changes nothing on the CPU: recording it runs nothing."""

WARM_UP_CALLS = 2
"""Plain calls before any is recorded: libraries set themselves up in the first."""
KIND_CALLS = 1
"""Plain calls of each other kind before one is recorded: it may run kernels for the first time,
which are chosen by timing them, and that cannot be recorded."""
RETRY_CALLS = 100
"""Plain calls of a kind that could not be recorded until it is tried again; twice as many each
time: memory may have been short, or another thread may have been in the way."""


class Capture(Protocol):
    """Records calls as graphs."""

    def __call__(self, call: Call) -> Call:
        """Record what `call` launches, without running it; return what launches all of it.

        Raises:
            Exception: whatever `call` or the driver raises. The process is as sound as before.
        """


class GraphedCalls:
    """The calls of one stream: plain at first, then recorded and replayed.

    A call that cannot be recorded goes on as it is; the reason is reported once.

    Args:
        capture: records calls; without it all run plainly.
        report: takes a line for the user.
        name: of the calls, in these lines.
    """

    def __init__(
        self,
        capture: Capture | None = None,
        report: Callable[[str], None] = print,
        name: str = "frames",
    ) -> None:
        self._capture = capture
        self._report = report
        self._name = name
        self._version: object = None
        self._kinds: dict[Hashable, _Kind] = {}
        self._recorded: dict[Hashable, _RecordedCall] = {}
        self._last_reason = ""

    @property
    def captures(self) -> bool:
        """Whether calls are recorded, so that their memory must stay where it is."""
        return self._capture is not None

    def __call__(self, slot: Hashable, version: object, call: Call, kind: Hashable = None) -> None:
        """Replay `call`, or run it.

        Args:
            slot: calls of one slot use the same memory, of which there may be several.
            version: what else the calls depend on; all are recorded again when it changes.
            call: what to run.
            kind: calls of one kind do the same work.
        """
        if version != self._version:
            self._version, self._kinds, self._recorded = version, {}, {}
        if kind not in self._kinds:
            self._kinds[kind] = _Kind(KIND_CALLS if self._kinds else WARM_UP_CALLS)
        key, state = (slot, kind), self._kinds[kind]
        if key not in self._recorded and state.plain_calls >= state.record_from:
            self._record(key, state, call)
        if key in self._recorded:
            self._recorded[key].replay()
        else:
            state.plain_calls += 1
            call()

    def _record(self, key: Hashable, state: "_Kind", call: Call) -> None:
        if self._capture is None:
            return
        began = time.perf_counter()
        try:
            replay = self._capture(call)
        except Exception as error:
            state.postpone()
            reason = f"{self._name} run without a CUDA graph: {one_line(error)}"
            if reason != self._last_reason:
                self._report(reason)
            self._last_reason = reason
            return
        if not self._recorded:
            took_ms = (time.perf_counter() - began) * 1000
            self._report(f"{self._name} run as one CUDA graph, recorded in {took_ms:.0f} ms")
        self._recorded[key] = _RecordedCall(call, replay)


@dataclass(slots=True)
class _Kind:
    """The plain calls of one kind so far."""

    record_from: int
    """So many come before one is recorded."""
    plain_calls: int = 0
    wait: int = RETRY_CALLS

    def postpone(self) -> None:
        """Wait with the next attempt, each time longer."""
        self.record_from = self.plain_calls + self.wait
        self.wait *= 2


class _RecordedCall(NamedTuple):
    """A call, which keeps alive the memory that its graph uses."""

    call: Call
    replay: Call
