"""Server of engines: each client that knows the token gets one, up to a stated number."""

import asyncio
import hmac
import logging
from collections.abc import Callable, Sequence
from typing import Any

from aioquic.asyncio.server import serve as serve_quic
from pydantic import ValidationError

from streamcam.errors import DeviceError, ParameterError
from streamcam.runtime.engine_worker import HEARTBEAT, TAKEN
from streamcam.runtime.remote.engine_host import EngineHost
from streamcam.runtime.remote.engine_slot import VERSIONS, EngineSlot
from streamcam.runtime.remote.peer import Peer, configuration, soon
from streamcam.runtime.remote.shared_settings import shared_settings
from streamcam.runtime.remote.token_certificates import server_identity
from streamcam.runtime.remote.wire import (
    PROTOCOL,
    Message,
    WireError,
    decompressed,
    parse_frame,
)
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.version import __version__

log = logging.getLogger(__name__)

HELLO_S = 5.0
"""Seconds in which a client must say hello."""
STRANGERS = 32
"""Connections at a time that have not said hello; more are closed."""
MOST_FPS = 500
BEAT_S = 0.05
IDLE_S = 5.0
"""Seconds without a packet after which a client is gone."""


class EngineServer:
    """Serves engines of one config over QUIC.

    Args:
        config: what every engine runs.
        token: that clients must know.
        clients: most of them at a time.
        together: how many share an engine and the calls of its model; by default none do.
    """

    def __init__(self, config: Config, token: str, clients: int, together: int = 1) -> None:
        self.config, self.token, self.clients = config, token, clients
        firsts = range(0, clients, together)
        sizes = [min(together, clients - first) for first in firsts]
        self.hosts = [EngineHost(config, f"engine {n + 1}", s) for n, s in enumerate(sizes)]
        self.strangers: list[Peer] = []
        """Connections that have not said hello so far, the oldest first."""
        self.sessions: dict[str, _Session] = {}
        """Clients that have an engine, by their names."""
        self.standbys: list[dict[str, str]] = []
        """Other engines for these clients; see `name_standbys`."""

    @property
    def is_ready(self) -> bool:
        """Whether an engine has loaded its model, so that a client gets outputs at once."""
        return any(slot.is_ready for host in self.hosts for slot in host.slots)

    def frames_taken(self) -> dict[str, int]:
        """Return the frames that the engine has taken of each client, by its name."""
        return {name: session.frames_taken for name, session in list(self.sessions.items())}

    def name_standbys(self, engines: Sequence[dict[str, str]]) -> None:
        """Tell all clients of other engines that they can go on with; called in the event loop."""
        self.standbys = list(engines)
        for session in self.sessions.values():
            session.name_standbys()

    def free_place(self) -> tuple[EngineHost, EngineSlot] | None:
        """Return a place that nobody has, its engine started if need be; None if there is none."""
        for host in self.hosts:
            for slot in host.slots:
                if slot.is_free:
                    if not host.has_started:
                        host.start()
                    return host, slot
        return None

    async def run(self, host: str, port: int, on_ready: Callable[[int], None]) -> None:
        """Serve until cancelled; `on_ready` gets the port once it is open.

        Raises:
            DeviceError: the port is not free.
        """
        self.free_place()  # The first engine is loaded before its client comes.
        settings = configuration(is_client=False, idle_s=IDLE_S)
        settings.certificate, settings.private_key = server_identity(self.token)
        try:
            server = await serve_quic(
                host,
                port,
                configuration=settings,
                create_protocol=self._protocol,
                retry=True,
            )
        except OSError as error:
            raise DeviceError(f"cannot serve at {host}:{port}: {error.strerror}") from None
        transport: Any = server._transport
        on_ready(transport.get_extra_info("sockname")[1])
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for engine in self.hosts:
                await asyncio.to_thread(engine.stop)

    def _protocol(self, *args: Any, **options: Any) -> Peer:
        peer = Peer(*args, **options)
        peer.listener = _Session(peer, self)
        if len(self.strangers) >= STRANGERS:
            self.strangers.pop(0).close()
        self.strangers.append(peer)
        return peer


class _Session:
    """One client: says hello, then sends frames and gets outputs."""

    def __init__(self, peer: Peer, server: EngineServer) -> None:
        self._peer, self._server = peer, server
        self._loop = asyncio.get_running_loop()
        self._host: EngineHost | None = None
        self._slot: EngineSlot | None = None
        self._name = ""
        self._greeted = False
        self._ended = False
        self._version = -1
        self._second, self._frames_in_it = 0.0, 0
        config = server.config
        self._size = (config.width, config.height)
        self._loop.call_later(HELLO_S, self._hurry)

    # ---- from the network

    def on_message(self, message: Message) -> None:
        if message["kind"] == "refused":
            return
        if message["kind"] != "hello" or self._greeted:
            raise WireError("a message came that nobody sends")
        self._greeted = True
        self._forget_stranger()
        self._greet(message)

    def _forget_stranger(self) -> None:
        if self._peer in self._server.strangers:
            self._server.strangers.remove(self._peer)

    def _greet(self, hello: Message) -> None:
        server = self._server
        if not hmac.compare_digest(str(hello.get("token", "")).encode(), server.token.encode()):
            raise WireError("the token is wrong")
        if hello.get("protocol") != PROTOCOL:
            raise WireError(
                f"it runs streamcam {__version__}, this is {hello.get('version', '')!s:.20}:"
                " install the same version on both machines"
            )
        if hello.get("for") == "settings":
            self._peer.send("welcome", settings=shared_settings(server.config))
            return
        self._name = str(hello.get("client", ""))[:100]
        # One that comes again has lost its connection, which may not be known here so far.
        if before := self._name and server.sessions.get(self._name):
            before.leave("it has come again")
        place = server.free_place()
        if place is None:
            raise WireError(f"all its engines are in use ({server.clients}; see --clients)")
        self._peer.send("welcome")
        self._peer.takes_frames = True
        self._host, self._slot = place
        server.sessions[self._name] = self
        self._slot.attach(self, lossless=hello.get("lossless") is True)
        log.info("a client has come")
        self.name_standbys()
        self._beat()

    def on_frame(self, data: bytes) -> None:
        if self._slot is None:
            raise WireError("a frame came before a hello")
        self._check_rate()
        frame = parse_frame(data)
        self._check_parameters(frame.version, frame.metadata)
        image = decompressed(frame.image, self._size)
        self._slot.put(image, frame)

    def _check_rate(self) -> None:
        """Raise WireError for more frames than any camera gives."""
        now = self._loop.time()
        if now - self._second >= 1:
            self._second, self._frames_in_it = now, 0
        self._frames_in_it += 1
        if self._frames_in_it > MOST_FPS:
            raise WireError(f"more than {MOST_FPS} frames a second came")

    def _check_parameters(self, version: int, metadata: bytes) -> None:
        """Raise WireError for live parameters that the engine would fail over."""
        if version == self._version:
            return
        if not 0 <= version < VERSIONS:
            raise WireError("a frame has no version")
        try:
            self._server.config.check(Parameters.model_validate_json(metadata))
        except (ValidationError, ParameterError) as error:
            raise WireError(f"live parameters are refused: {str(error)[:300]}") from None
        self._version = version

    def on_end(self, reason: str) -> None:
        self._ended = True
        self._forget_stranger()
        slot, self._slot = self._slot, None
        if slot:
            slot.detach()
            if self._host:
                self._host.check_soon()
            if self._server.sessions.get(self._name) is self:
                del self._server.sessions[self._name]
            log.info("a client has gone%s", reason and f": {reason}")

    def leave(self, reason: str) -> None:
        """End the session, whatever its connection does."""
        self._peer.close()
        self.on_end(reason)

    @property
    def frames_taken(self) -> int:
        """Frames that the engine has taken of this client."""
        return self._slot.counts()[TAKEN - HEARTBEAT] if self._slot else 0

    def name_standbys(self) -> None:
        """Tell the client of other engines that it can go on with."""
        if self._server.standbys and not self._ended:
            self._peer.send("standbys", engines=self._server.standbys)

    # ---- from the threads of the engine

    def wait_for_room(self, timeout_s: float) -> bool:
        return self._peer.wait_for_room(timeout_s)

    def send_output(self, data: bytes) -> None:
        soon(self._loop, self._peer.send_frame, data)

    def send_engine(self, message: dict[str, Any]) -> None:
        soon(self._loop, lambda: self._peer.send("engine", **message))

    def engine_ended(self, reason: str) -> None:
        soon(self._loop, self._peer.refuse, f"the engine has ended there: {reason}")

    # ---- timers

    def _hurry(self) -> None:
        if not self._greeted and not self._ended:
            self._peer.close()

    def _beat(self) -> None:
        if self._slot and not self._ended:
            self._peer.send_once("beat", counts=self._slot.counts())
            self._loop.call_later(BEAT_S, self._beat)
