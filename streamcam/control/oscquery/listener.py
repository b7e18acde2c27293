"""Listener: one WebSocket client, the paths it listens to, and what it has been sent."""

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from starlette.websockets import WebSocket

from streamcam.control.messages import Argument, Message
from streamcam.control.osc.feedback import HOLD
from streamcam.control.osc.packets import write_packet
from streamcam.control.oscquery.method import Method
from streamcam.control.oscquery.namespace import Values

STALLED_S = 10.0
"""Seconds without reading after which a client is given up."""
STUCK_S = 2.0
"""Seconds without reading after which it makes room for another."""
MAX_WAITING = 64
"""Answers and notices that wait to be sent; the oldest go first."""


class Listener:
    """Sends the newest value of each path when the client is ready for it.

    One that reads slowly gets fewer values, always the newest.
    """

    def __init__(self, socket: WebSocket, host: str) -> None:
        self.socket = socket
        self.host = host
        self.client = ("oscquery", host, socket.client.port if socket.client else 0)
        """Name of the client among the senders of messages."""
        self._methods: dict[str, tuple[Method, bool]] = {}
        self._sent: dict[str, Sequence[Argument]] = {}
        self._held: dict[str, float] = {}
        """Times until which a value that the client moves is not sent back, by address."""
        self._values: Values = {}
        self._waiting: deque[bytes | str] = deque(maxlen=MAX_WAITING)
        self._changed = asyncio.Event()
        self._sending_since: float | None = None
        self._sender: asyncio.Task[None] | None = None

    @property
    def wants_figures(self) -> bool:
        """Whether it listens to a figure of the status."""
        return any(is_figure for _, is_figure in self._methods.values())

    def listen(self, methods: Mapping[str, tuple[Method, bool]], values: Values) -> None:
        """Send the values of these paths from now on, the present ones first."""
        self._methods.update(methods)
        for path in methods:
            self._sent.pop(path, None)
        self._values = values
        self._changed.set()

    def ignore(self, paths: Iterable[str]) -> None:
        """Send the values of these paths no more."""
        for path in paths:
            self._methods.pop(path, None)

    def update(self, values: Values, changed: Iterable[str]) -> None:
        """Take the newest values, and the paths whose description has changed."""
        self._values = values
        self._waiting.extend(
            json.dumps({"COMMAND": "PATH_CHANGED", "DATA": path}) for path in changed
        )
        self._changed.set()

    def answer(self, message: Message) -> None:
        """Send `message`, whether it is listened to or not."""
        self._waiting.append(write_packet(message))
        self._changed.set()

    def moved(self, addresses: Iterable[str], now: float) -> None:
        """Hold back the values of `addresses` for a while: the client moves them itself."""
        self._held.update(dict.fromkeys(addresses, now + HOLD))

    def release(self, addresses: Iterable[str]) -> None:
        """Send the values of `addresses` with the next update: they are not what was sent."""
        for address in addresses:
            self._held.pop(address, None)
            for path, (method, _) in self._methods.items():
                if method.address == address:
                    self._sent.pop(path, None)

    def end_holds(self, now: float) -> None:
        """Send what has been held back for long enough."""
        if any(until <= now for until in self._held.values()):
            self._held = {name: until for name, until in self._held.items() if until > now}
            self._changed.set()

    def is_stuck(self) -> bool:
        """Return whether the client has not read for a while."""
        since = self._sending_since
        return since is not None and asyncio.get_running_loop().time() - since > STUCK_S

    def stop(self) -> None:
        """Give the client up."""
        if self._sender:
            self._sender.cancel()

    async def send_all(self) -> None:
        """Send without end; raise TimeoutError when the client does not read."""
        self._sender = asyncio.current_task()
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._waiting:
                await self._send(self._waiting.popleft())
            for path in list(self._methods):
                await self._send_value(path)

    async def _send_value(self, path: str) -> None:
        method, _ = self._methods.get(path, (None, False))
        if method is None or method.address in self._held:
            return
        arguments = self._values.get(method.address)
        if not arguments or arguments == self._sent.get(path):
            return
        self._sent[path] = arguments
        await self._send(write_packet(Message(path, tuple(arguments)), method.tags_of(arguments)))

    async def _send(self, message: bytes | str) -> None:
        self._sending_since = asyncio.get_running_loop().time()
        async with asyncio.timeout(STALLED_S):
            if isinstance(message, bytes):
                await self.socket.send_bytes(message)
            else:
                await self.socket.send_text(message)
        self._sending_since = None
