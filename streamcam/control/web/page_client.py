"""One page: it is sent what it has not had whenever it is ready, and what it sends is applied."""

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from streamcam.control.dispatcher import Outcome
from streamcam.control.messages import Message
from streamcam.control.surface import ControlSurface
from streamcam.control.web.page_messages import Packet, PageError, read_page_message
from streamcam.control.web.page_table import shown
from streamcam.control.web.updates import Updates
from streamcam.errors import printable
from streamcam.limits import RateLimiter
from streamcam.version import __version__

log = logging.getLogger(__name__)

MAX_REPLIES = 8
"""Replies that wait for a page to read them; with so many, no more is taken from it."""
REFUSED_PAUSE_S = 0.02
"""Wait after a message that was malformed or one too many, in which no more is taken."""
WARNING_S = 60.0
"""Seconds between two lines about the same host."""
BROKEN_RULES = {
    1002: "what is no message of a WebSocket",
    1007: "text that is not UTF-8",
    1009: "a message that is too long",
}
"""Codes with which the server closes a WebSocket, and the reasons."""
OPERATOR = "operator"
VIEWER_REFUSAL = "this link is for viewing only; ask the operator for the other one"


class PageLimits:
    """Rates of what pages send, and of the lines about it, by host.

    Args:
        rate: messages per second that are applied for one host.
    """

    def __init__(self, rate: float) -> None:
        self._messages = RateLimiter(rate, max(rate, 256))
        self._warnings = RateLimiter(1 / WARNING_S, 1)

    def admits(self, host: str, messages: int) -> bool:
        """Return whether to apply so many messages of `host` now."""
        return self._messages.take(host, max(1, messages))

    def warn(self, host: str, text: str) -> None:
        """Log what is wrong with the messages of `host`, once a minute."""
        if self._warnings.take((host, text[:12])):
            log.warning("control page at %s: %s", host, printable(text))


class PageClient:
    """The connection of one page.

    Args:
        websocket: the connection, which is accepted already.
        surface: applies what the page sends.
        updates: holds what the page is sent.
        limits: rates by host.
    """

    def __init__(
        self,
        websocket: WebSocket,
        surface: ControlSurface,
        updates: Updates,
        limits: PageLimits,
    ) -> None:
        self._websocket = websocket
        self._surface = surface
        self._updates = updates
        self._limits = limits
        self._role = websocket.scope.get("role", OPERATOR)
        self._host = websocket.client.host if websocket.client else ""
        self._source = object()
        self._ready = asyncio.Event()
        self._replies: asyncio.Queue[str] = asyncio.Queue(MAX_REPLIES)
        self._values = self._live = self._lines = 0
        self._status = ""

    async def run(self) -> None:
        """Serve the page until it is gone, beginning with all that it shows."""
        self._updates.join(self._ready)
        sending, receiving = self._send(), self._receive()
        tasks = [asyncio.create_task(sending), asyncio.create_task(receiving)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._updates.leave(self._ready)
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError, WebSocketDisconnect):
                    await task

    async def _send(self) -> None:
        await self._websocket.send_text(json.dumps(self._hello()))
        self._ready.set()
        while True:
            await self._ready.wait()
            self._ready.clear()
            for text in self._due():
                # Waits until the page has read; meanwhile newer values replace older ones.
                await self._websocket.send_text(text)

    def _hello(self) -> dict[str, Any]:
        updates = self._updates
        self._values, self._live = updates.values.version, updates.live.version
        return {
            "type": "hello",
            "version": __version__,
            "role": self._role,
            "prefix": self._surface.prefix,
            "table": updates.table(),
            "values": updates.values.since(0),
        }

    def _due(self) -> Iterator[str]:
        """Yield what the page has not had, each the newest at the time that it is asked for."""
        updates = self._updates
        while not self._replies.empty():
            yield self._replies.get_nowait()
        if updates.values.version != self._values:
            since, self._values = self._values, updates.values.version
            yield updates.values.text_since(since)
        if updates.live.version != self._live:
            since, self._live = self._live, updates.live.version
            yield updates.live.text_since(since)
        if updates.lines.count != self._lines:
            since, self._lines = self._lines, updates.lines.count
            yield json.dumps({"type": "log", "lines": updates.lines.since(since)})
        if updates.status_text is not self._status:
            self._status = updates.status_text
            yield self._status

    async def _receive(self) -> None:
        while True:
            event = await self._websocket.receive()
            if event["type"] != "websocket.receive":
                self._warn_of_protocol(event)
                return
            try:
                packet = read_page_message(event.get("text"))
            except PageError as error:
                self._limits.warn(self._host, f"a message {error}")
                await self._reply(None, refused=[("", str(error))])
                await asyncio.sleep(REFUSED_PAUSE_S)
                continue
            await self._handle(packet)

    def _warn_of_protocol(self, event: Mapping[str, Any]) -> None:
        """Log why the server has ended the connection, if the page has broken the rules."""
        if event.get("code") in BROKEN_RULES:
            reason = BROKEN_RULES[event["code"]]
            self._limits.warn(self._host, f"disconnected, as it has sent {reason}")

    async def _handle(self, packet: Packet) -> None:
        if self._role != OPERATOR:
            refused = [(m.address, VIEWER_REFUSAL) for m in packet.messages]
            await self._reply(packet.id, refused=refused)
        elif not self._limits.admits(self._host, len(packet.messages)):
            self._limits.warn(self._host, "more messages than osc_rate allows; some are lost")
            reason = "too many messages a second; this one is lost"
            refused = [(m.address, reason) for m in packet.messages]
            await self._reply(packet.id, refused=refused)
            await asyncio.sleep(REFUSED_PAUSE_S)
        else:
            # Not in the event loop: whoever changes something else at the time may take long.
            outcome = await asyncio.to_thread(self._apply, packet.messages)
            await self._reply(packet.id, **self._shown(outcome))

    def _apply(self, messages: Sequence[Message]) -> Outcome:
        return self._surface.apply(messages, self._source)

    def _shown(self, outcome: Outcome) -> dict[str, Any]:
        """Return what became of the messages, and the values where the page shows others."""
        others = [*outcome.clamped, *(address for address, _ in outcome.refused)]
        values = [self._surface.value_of(address) for address in dict.fromkeys(others)]
        return {
            "refused": outcome.refused,
            "warnings": outcome.warnings,
            "unknown": outcome.unknown,
            "values": {value.address: shown(value.arguments) for value in values if value},
        }

    async def _reply(self, id_: int | str | None, **result: Any) -> None:
        empty: dict[str, Any] = {"refused": [], "warnings": [], "unknown": [], "values": {}}
        await self._replies.put(json.dumps({"type": "reply", "id": id_} | empty | result))
        self._ready.set()
