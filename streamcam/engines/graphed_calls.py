"""Replay calls that are the same every time as graphs, and run them plainly until then.

A graph holds the addresses that its kernels read and write: a call that is recorded must work on
memory that stays where it is (`streamcam.engines.fixed_memory`). What is new from call to call is
copied into that memory, so no value is ever a reason to record again.
"""

import time
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

from streamcam.errors import one_line

Call = Callable[[], None]
"""Launches work on the device, and changes nothing on the CPU: recording it runs nothing."""

WARM_UP_CALLS = 2
"""Plain calls before any is recorded: libraries set themselves up in the first."""


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
        self._plain_calls = 0
        self._recorded: dict[Hashable, _RecordedCall] = {}
        self._refused = False
        self._last_reason = ""

    @property
    def captures(self) -> bool:
        """Whether calls are recorded, so that their memory must stay where it is."""
        return self._capture is not None

    def __call__(self, slot: Hashable, version: object, call: Call) -> None:
        """Replay `call`, or run it.

        Args:
            slot: calls of one slot use the same memory, of which there may be several.
            version: what else the calls depend on; all are recorded again when it changes.
            call: what to run.
        """
        if version != self._version:
            self._version, self._plain_calls = version, 0
            self._recorded, self._refused = {}, False
        if slot not in self._recorded and self._plain_calls >= WARM_UP_CALLS:
            self._record(slot, call)
        if slot in self._recorded:
            self._recorded[slot].replay()
        else:
            self._plain_calls += 1
            call()

    def _record(self, slot: Hashable, call: Call) -> None:
        if self._capture is None or self._refused:
            return
        began = time.perf_counter()
        try:
            replay = self._capture(call)
        except Exception as error:
            self._refused = True
            reason = f"{self._name} run without a CUDA graph: {one_line(error)}"
            if reason != self._last_reason:
                self._report(reason)
            self._last_reason = reason
            return
        if not self._recorded:
            took_ms = (time.perf_counter() - began) * 1000
            self._report(f"{self._name} run as one CUDA graph, recorded in {took_ms:.0f} ms")
        self._recorded[slot] = _RecordedCall(call, replay)


class _RecordedCall(NamedTuple):
    """A call, which keeps alive the memory that its graph uses."""

    call: Call
    replay: Call
