"""Listeners: WebSocket clients that are sent the values they listen to, and may send OSC."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from streamcam.control.dispatcher import Outcome
from streamcam.control.messages import Message
from streamcam.control.osc.feedback import is_feedback
from streamcam.control.osc.packets import PacketError, Unreadable, read_packet
from streamcam.control.oscquery.listener import Listener
from streamcam.control.oscquery.method import Method
from streamcam.control.oscquery.namespace import Namespace, Values
from streamcam.control.surface import ControlSurface
from streamcam.errors import printable
from streamcam.limits import RateLimiter
from streamcam.system.web_tokens import VIEWER

log = logging.getLogger(__name__)

MAX_LISTENERS = 16
PERIOD_S = 1 / 30
"""Seconds between two looks at the values."""
STATUS_PERIOD_S = 0.5
"""Seconds between two looks at the figures, where someone listens to one."""
REPORTS_PER_SECOND = 1 / 60
FAULTS_PER_SECOND = 2.0
FAULTS_AT_ONCE = 20
"""Messages of a client that are no use; more of them end its connection."""
FEW = 4
"""Messages that are applied at once, faster than another thread could begin to."""
COMMANDS = ("LISTEN", "IGNORE")
TRY_AGAIN_LATER, POLICY = 1013, 1008
"""Codes that a WebSocket is closed with."""


class FaultyClientError(Exception):
    """A client that sends nothing but nonsense."""


class Listeners:
    """The WebSocket clients, at most `MAX_LISTENERS`; lives in one event loop."""

    def __init__(
        self, surface: ControlSurface, namespace: Namespace, report: Callable[[str], None]
    ) -> None:
        self._surface = surface
        self._namespace = namespace
        self._report = report
        self._listeners: set[Listener] = set()
        self._watching: asyncio.Task[None] | None = None
        self._values: Values = {}
        self._state: object = None
        self._look_again = False
        """The values are to be sent again, though none has changed."""
        self._next_status = 0.0
        rate = surface.config.broadcast.osc_rate
        self._messages = RateLimiter(rate, rate)
        self._reports = RateLimiter(REPORTS_PER_SECOND, 1)
        self._faults = RateLimiter(FAULTS_PER_SECOND, FAULTS_AT_ONCE)

    async def serve(self, socket: WebSocket, host: str) -> None:
        """Serve one client until it is gone."""
        if len(self._listeners) >= MAX_LISTENERS and not self._evict():
            self._log(host, f"is refused, as {MAX_LISTENERS} clients listen already")
            await socket.close(TRY_AGAIN_LATER, f"there are {MAX_LISTENERS} clients already")
            return
        await socket.accept()
        listener = Listener(socket, host)
        self._listeners.add(listener)
        if self._watching is None or self._watching.done():
            self._state = None
            self._watching = asyncio.create_task(self._watch())
        try:
            await self._until_gone(listener)
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._watching:
                self._watching.cancel()

    async def _until_gone(self, listener: Listener) -> None:
        sending = asyncio.create_task(listener.send_all())
        receiving = asyncio.create_task(self._receive(listener))
        tasks = (sending, receiving)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        reason = next((r for r in results if isinstance(r, Exception)), None)
        if isinstance(reason, FaultyClientError):
            self._log(listener.host, str(reason))
            await _close(listener.socket, str(reason))
        elif isinstance(reason, TimeoutError):
            self._log(listener.host, "does not read what it listens to; its connection is closed")
        elif reason and not isinstance(reason, (WebSocketDisconnect, RuntimeError, OSError)):
            raise reason

    def _evict(self) -> bool:
        """Return whether a client that does not read has made room for another."""
        stuck = next((listener for listener in self._listeners if listener.is_stuck()), None)
        if stuck is None:
            return False
        stuck.stop()
        self._listeners.discard(stuck)
        return True

    async def _watch(self) -> None:
        """Let the clients have what has changed, without end."""
        while True:
            try:
                self._look()
            except Exception:
                # A bug in here must not take the values from everybody for good.
                if self._reports.take("bug"):
                    log.exception("OSCQuery goes on after an error")
            await asyncio.sleep(PERIOD_S)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        figures = any(listener.wants_figures for listener in self._listeners)
        state = self._surface.state()
        due = figures and now >= self._next_status
        if due or state != self._state or self._look_again:
            self._look_again = False
            first = self._state is None
            before, self._values = self._values, self._namespace.values(with_status=figures)
            self._state = state
            if due:
                self._next_status = now + STATUS_PERIOD_S
            changed = [] if first else self._namespace.changed_choices(before, self._values)
            for listener in self._listeners:
                listener.update(self._values, changed)
        for listener in self._listeners:
            listener.end_holds(now)

    async def _receive(self, listener: Listener) -> None:
        """Take commands as text, and OSC packets as bytes."""
        while True:
            received = await listener.socket.receive()
            if received["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(received.get("code", 1005))
            if not self._messages.take(listener.host):
                self._log(listener.host, "sends more than osc_rate allows; some is lost")
                continue
            text, packet = received.get("text"), received.get("bytes")
            if text is not None:
                self._take_command(listener, text)
            elif packet is not None:
                await self._take_packet(listener, packet)

    def _take_command(self, listener: Listener, text: str) -> None:
        try:
            wanted = json.loads(text)
        except (ValueError, RecursionError):
            wanted = None
        command = wanted.get("COMMAND") if isinstance(wanted, dict) else None
        path = wanted.get("DATA") if isinstance(wanted, dict) else None
        if command not in COMMANDS or not isinstance(path, str):
            example = '{"COMMAND": "LISTEN", "DATA": "/streamcam/mix"}'
            self._fault(listener, f"sends what is no command; one is {example}")
            return
        methods = self._methods(path)
        if not methods:
            self._fault(listener, f"asks for {printable(path[:80])}, which there is not")
        elif command == "LISTEN":
            listener.listen(methods, self._values)
            if listener.wants_figures:
                self._next_status = 0.0
        else:
            listener.ignore(methods)

    def _methods(self, path: str) -> dict[str, tuple[Method, bool]]:
        """Return the methods at or below `path`, and whether each is a figure."""
        path = path.rstrip("/") or "/"
        paths: Sequence[str] = [path] if self._namespace.method(path) else ()
        if not paths and self._namespace.is_container(path):
            paths = list(self._namespace.methods_below(path))
        found = {path: self._namespace.method(path) for path in paths}
        return {
            path: (method, self._namespace.is_figure(path))
            for path, method in found.items()
            if method
        }

    async def _take_packet(self, listener: Listener, packet: bytes) -> None:
        if listener.socket.scope.get("role") == VIEWER:
            self._fault(listener, "sends changes over a link that is for viewing only")
            return
        unreadable: list[Unreadable] = []
        try:
            messages = read_packet(packet, unreadable)
        except PacketError as error:
            self._fault(listener, f"sends what is no OSC: {error}")
            return
        prefix = self._surface.prefix
        messages = [m for m in messages if not is_feedback(prefix, m.address)]
        if len(messages) > 1 and not self._messages.take(listener.host, len(messages) - 1):
            self._log(listener.host, "sends more than osc_rate allows; some is lost")
            return
        # Before they are applied: the change may be seen before this goes on.
        listener.moved(self._names(messages), asyncio.get_running_loop().time())
        outcome = await self._apply(messages, listener)
        if others := [*outcome.clamped, *(address for address, _ in outcome.refused)]:
            listener.release(others)
            self._look_again = True
        hint = self._surface.addresses.suggest
        problems = [
            *outcome.refused,
            *((address, f"is unknown: {hint(address)}") for address in outcome.unknown[:1]),
        ]
        problems += [(message.address, str(message.reason)) for message in unreadable]
        for address, reason in problems:
            if self._faults.take((listener.client, "answer")):
                listener.answer(Message(f"{prefix}/error", (address[:100], reason[:300])))
        for address, text in outcome.warnings:
            if self._faults.take((listener.client, "answer")):
                listener.answer(Message(f"{prefix}/warning", (address[:100], text[:300])))

    async def _apply(self, messages: Sequence[Message], listener: Listener) -> Outcome:
        if len(messages) <= FEW:
            return self._surface.apply(messages, listener.client)
        # Large bundles that contradict themselves take a while.
        return await asyncio.to_thread(self._surface.apply, messages, listener.client)

    def _names(self, messages: Sequence[Message]) -> list[str]:
        """Return the full names of the addresses that `messages` are sent to."""
        found = (self._surface.addresses.find(message.address) for message in messages)
        return [entry[0] if entry else m.address for entry, m in zip(found, messages, strict=True)]

    def _fault(self, listener: Listener, reason: str) -> None:
        if not self._faults.take(listener.client):
            raise FaultyClientError(f"{reason}; its connection is closed")
        self._log(listener.host, reason)

    def _log(self, host: str, reason: str) -> None:
        if self._reports.take(host):
            self._report(f"OSCQuery: {host} {reason}")


async def _close(socket: WebSocket, reason: str) -> None:
    if socket.application_state is WebSocketState.CONNECTED:
        with suppress(RuntimeError, OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                # A reason has 123 bytes at the most.
                await socket.close(POLICY, reason.encode()[:120].decode(errors="ignore"))
