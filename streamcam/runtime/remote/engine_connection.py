"""Connections to engines on other machines: found, trusted and made welcome."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from streamcam.errors import ConfigError, EngineError
from streamcam.runtime.remote.wire import PROTOCOL, Message
from streamcam.system.network import parse_endpoint
from streamcam.version import __version__

if TYPE_CHECKING:
    from streamcam.runtime.remote.peer import Peer

CONNECT_S = 5.0
"""Seconds for a connection to be made."""
DEFAULT_PORT = 8093
CLOSE_S = 0.1
"""Seconds for the other side to hear that a connection ends."""
MOST_EARLY = 64


class LinkLostError(EngineError):
    """The other machine does not answer, or has ended the connection."""


def check_package() -> None:
    """Raise ConfigError where the package for engines elsewhere is missing."""
    try:
        import aioquic  # noqa: F401
    except ImportError:
        raise ConfigError(
            'an engine elsewhere needs the extra "remote": pip install "streamcam[remote]"'
        ) from None


def fetch_settings(engine: str, token: str) -> Any:
    """Return what the engine's machine says of its settings; see `shared_settings`.

    Raises:
        EngineError: it does not answer, or refuses.
    """

    async def ask() -> Any:
        async with connected(engine, token, "settings") as (_, welcome):
            return welcome.get("settings")

    try:
        return asyncio.run(ask())
    except LinkLostError as error:
        raise EngineError(
            f'{error}; is "streamcam serve" running there, and the UDP port open?'
        ) from None


@asynccontextmanager
async def connected(
    engine: str,
    token: str,
    purpose: str,
    name: str = "",
    *,
    lossless: bool = False,
    connect_s: float | None = None,
) -> "AsyncIterator[tuple[Peer, Message]]":
    """Connect to ``HOST:PORT`` and say hello; yield the connection and the welcome.

    It takes no longer than `connect_s`, by default `CONNECT_S`, to connect, and to be welcome.

    Raises:
        LinkLostError: nobody answers.
        EngineError: the token is wrong, or the other side refuses.
    """
    from aioquic.asyncio.client import connect

    from streamcam.runtime.remote.peer import Peer, configuration
    from streamcam.runtime.remote.token_certificates import SERVER_NAME, authority_pem

    host, port = parse_endpoint(engine, default_port=DEFAULT_PORT)
    connect_s = connect_s or CONNECT_S
    settings = configuration(is_client=True, idle_s=CONNECT_S)
    settings.server_name, settings.cadata = SERVER_NAME, authority_pem(token)
    settings.verify_mode = ssl.CERT_REQUIRED
    answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    manager = connect(
        host, port, configuration=settings, create_protocol=Peer, wait_connected=False
    )
    try:
        peer: Any = await asyncio.wait_for(manager.__aenter__(), connect_s)
    except (OSError, TimeoutError) as error:
        raise LinkLostError(f"no engine at {engine}: {error or 'no answer'}") from None
    try:
        peer.listener = Hello(answer, engine)
        peer.transmit()
        hello = {"protocol": PROTOCOL, "version": __version__, "token": token, "for": purpose}
        peer.send("hello", **hello, client=name, lossless=lossless)
        try:
            welcome = await asyncio.wait_for(answer, connect_s)
        except TimeoutError:
            raise LinkLostError(f"no answer from {engine}") from None
        yield peer, welcome
    finally:
        with suppress(Exception):  # It ends either way, and may have been lost before.
            await asyncio.wait_for(manager.__aexit__(None, None, None), CLOSE_S)


class Hello:
    """Waits for the answer to the first message."""

    def __init__(self, answer: "asyncio.Future[Message]", engine: str) -> None:
        self._answer = answer
        self._engine = engine
        self.early: list[Message] = []
        """Messages that came right after the answer, before anybody else listened."""

    def on_message(self, message: Message) -> None:
        if self._answer.done():
            if len(self.early) < MOST_EARLY:
                self.early.append(message)
            return
        if message["kind"] == "welcome":
            self._answer.set_result(message)
        elif message["kind"] == "refused":
            error = EngineError(f"{self._engine} refuses: {message.get('text', ''):.1000}")
            self._answer.set_exception(error)

    def on_frame(self, data: bytes) -> None: ...

    def on_end(self, reason: str) -> None:
        if self._answer.done():
            return
        if "certificate" in reason or "verify" in reason:
            error: EngineError = EngineError(
                f"the token is not that of {self._engine}: take the one that"
                ' "streamcam serve" shows there'
            )
        else:
            why = "no answer" if reason in ("", "Idle timeout") else reason
            error = LinkLostError(f"no engine at {self._engine}: {why}")
        self._answer.set_exception(error)
