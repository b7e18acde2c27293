"""Changes on their way to the pages: gathered once for all of them, at most 30 times a second."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from streamcam.control.surface import ControlSurface
from streamcam.control.web.log_lines import LogLines
from streamcam.control.web.page_table import page_table, shown
from streamcam.control.web.versioned_values import VersionedValues
from streamcam.settings.base import traits
from streamcam.settings.named_numbers import is_named_numbers
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import is_prompt
from streamcam.stats import LatencyHistory, Status

ROUND_S = 1 / 30
"""Seconds between two rounds, so that each page is sent 30 messages with values at most."""
QUIET_ROUND_S = 0.008
"""The same after a round in which no value had changed, as when messages are refused."""
LIVE_S = 1 / 15
"""Seconds between two reports of the numbers that move by themselves."""
POLL_S = 0.1
"""Seconds after which a round is made even if nobody has reported a change."""
STATUS_S = 0.5
MOVING = {
    name: field
    for name, field in Parameters.model_fields.items()
    if traits(field).fades and not is_prompt(field)
}


class Updates:
    """Newest values, figures and log lines; lives in one event loop, but for `wake`.

    Args:
        surface: has the values.
        status: returns the state of the broadcast.
        history: latencies of the last minute.
        lines: the newest lines of the log.
    """

    def __init__(
        self,
        surface: ControlSurface,
        status: Callable[[], Status],
        history: LatencyHistory,
        lines: LogLines,
    ) -> None:
        self.values = VersionedValues("values")
        self.live = VersionedValues("live")
        self.lines = lines
        self.status_text = ""
        rows = (row["address"] for row in page_table(surface))
        names = f"{surface.prefix}/preset/names"
        self._addresses = frozenset((*rows, *surface.addresses.commands, names))
        self._surface = surface
        self._table: list[dict[str, Any]] = []
        self._bound: list[str] | None = None
        self._status = status
        self._history = history
        self._loop = asyncio.get_running_loop()
        self._listeners: set[asyncio.Event] = set()
        self._changed = asyncio.Event()
        self._woken = False
        self._running: asyncio.Task[None] | None = None
        self._state: object = None
        self._moving: set[str] = set()
        self._next_live = self._next_status = 0.0

    def table(self) -> list[dict[str, Any]]:
        """Return everything that a page shows and changes; commands may have been bound since."""
        commands = self._surface.commands
        bound = [name for name in commands.declared if commands.is_bound(name)]
        if bound != self._bound:
            self._bound, self._table = bound, page_table(self._surface)
        return self._table

    def wake(self) -> None:
        """Have a round made soon; may be called from any thread, and never waits."""
        if self._listeners and not self._woken:
            self._woken = True
            # The server may have ended meanwhile.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._changed.set)

    def join(self, listener: asyncio.Event) -> None:
        """Set `listener` after each round from now on; what there is now is ready at once."""
        self._listeners.add(listener)
        if self._running is None or self._running.done():
            self._running = self._loop.create_task(self._run())
        self._gather()

    def leave(self, listener: asyncio.Event) -> None:
        """Set `listener` no more; without listeners nothing is gathered."""
        self._listeners.discard(listener)
        if not self._listeners and self._running:
            self._running.cancel()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._changed.wait()
            self._changed.clear()
            # Whoever changes something from here on wakes the next round.
            self._woken = False
            has_changed = self._gather()
            for listener in self._listeners:
                listener.set()
            await asyncio.sleep(ROUND_S if has_changed else QUIET_ROUND_S)

    def _gather(self) -> bool:
        """Take what there is; return whether a value has changed."""
        now = self._loop.time()
        has_changed = self._gather_values()
        if now >= self._next_live:
            self._next_live = now + LIVE_S
            self._gather_live()
        if now >= self._next_status:
            self._next_status = now + STATUS_S
            status = asdict(self._status()) | {
                "latency_history": self._history.points(time.monotonic())
            }
            self.status_text = json.dumps({"type": "status", "status": status})
        return has_changed

    def _gather_values(self) -> bool:
        state = self._surface.state()
        if state == self._state:
            return False
        self._state = state
        values: dict[str, list[Any]] = {
            message.address: shown(message.arguments)
            for message in self._surface.values()
            if message.address in self._addresses
        }
        # A value that is gone is sent as one without arguments.
        gone: dict[str, list[Any]] = {name: [] for name in self.values.since(0)}
        return self.values.update(gone | values)

    def _gather_live(self) -> None:
        """Take the numbers that a fade moves, and once more those that have come to rest."""
        current, target = self._surface.control.parameters, self._surface.control.target
        now, then = self._numbers(current), self._numbers(target)
        moving = {name for name in now if current is not target and now[name] != then.get(name)}
        self.live.update({name: now[name] for name in moving | self._moving})
        self._moving = moving

    def _numbers(self, parameters: Parameters) -> dict[str, float | None]:
        """Return the numbers that can fade, by their names on the page."""
        numbers: dict[str, float | None] = {}
        for name, field in MOVING.items():
            value = getattr(parameters, name)
            if is_named_numbers(field):
                numbers |= {f"{name}/{which}": number for which, number in value}
            else:
                numbers[name] = value
        return numbers
