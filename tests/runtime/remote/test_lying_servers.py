"""A server that floods, lies or vanishes is a lost engine, with the reason in one line."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from aioquic.asyncio.server import serve

from streamcam.errors import EngineError
from streamcam.runtime.engine_frames import EngineFrames
from streamcam.runtime.engine_message import EngineMessage
from streamcam.runtime.remote import link
from streamcam.runtime.remote.peer import Peer, configuration
from streamcam.runtime.remote.token_certificates import ServerIdentity, server_identity
from streamcam.runtime.remote.wire import MAX_MESSAGE, WireFrame, compressed, frame_bytes
from streamcam.settings.config_layers import build_config
from tests.support.engine_servers import TOKEN

SIZE = {"model": "identity", "width": 64, "height": 48}
IMAGE = np.zeros((48, 64, 3), np.uint8)
OUTPUT = compressed(IMAGE)
Act = Callable[["LyingServer"], object]


class LyingServer(Peer):
    """Welcomes a client; does something once that has sent a frame, and nothing else."""

    def __init__(self, act: Act, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.listener, self.takes_frames = self, True
        self._act = act

    def on_message(self, _message: dict[str, Any]) -> None:
        self.send("welcome")

    def on_frame(self, _data: bytes) -> None:
        self._act(self)

    def on_end(self, reason: str) -> None: ...

    def raw(self, data: bytes) -> None:
        self._quic.send_stream_data(0, data)
        self.transmit()

    def output(self, index: int = 0, captured_at: float = 0.0, image: bytes = OUTPUT) -> None:
        self.send_frame(frame_bytes(WireFrame(index, index, captured_at, 0, b"", image)))

    def engine(self, times: int = 1, **message: Any) -> None:
        for _ in range(times):
            self.send("engine", **{"type": "log", **message})


@pytest.fixture(scope="module")
def identity() -> ServerIdentity:
    return server_identity(TOKEN)


@pytest.fixture(scope="module")
def rings() -> Iterator[EngineFrames]:
    frames = EngineFrames(build_config([SIZE]))
    yield frames
    frames.close()


async def _meet(
    act: Act, identity: ServerIdentity, frames: EngineFrames
) -> tuple[str, list[EngineMessage]]:
    """Return why a link to such a server ended, and what it passed on."""
    settings = configuration(is_client=False, idle_s=5.0)
    settings.certificate, settings.private_key = identity

    def protocol(*args: Any, **options: Any) -> LyingServer:
        return LyingServer(act, *args, **options)

    server = await serve("127.0.0.1", 0, configuration=settings, create_protocol=protocol)
    transport: Any = server._transport
    engine = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    config = build_config([SIZE, {"engine": engine, "token": TOKEN, "engine_deadline": 1.0}])
    inputs, outputs = frames.rings
    passed_on: list[EngineMessage] = []

    async def show() -> None:
        for index in range(1000):
            inputs.put(IMAGE, 0, float(index))
            await asyncio.sleep(0.02)

    camera = asyncio.ensure_future(show())
    try:
        await link.Link(config, inputs, outputs, passed_on.append).run(engine, TOKEN, "a performer")
    except EngineError as error:
        return str(error), passed_on
    finally:
        camera.cancel()
        server.close()
    raise AssertionError("it never ends")


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda _: None, "no answer from the engine at 127.0.0.1"),
        (lambda server: server.close(), "the connection to 127.0.0.1"),
        (lambda server: server.send("format", disk="C:"), "a message came that nobody sends"),
        (lambda server: server.send("beat", counts=[float("nan")] * 5), "makes no sense"),
        (lambda server: server.send("beat", counts=[1 << 80] * 5), "makes no sense"),
        (lambda server: server.send("beat", counts=[1]), "a sign of life has no counts"),
        (lambda server: server.raw(b"x" * (MAX_MESSAGE + 1)), "a message is too long"),
        (lambda server: server.output(index=7), "an output came of a frame that was never sent"),
        (lambda server: server.output(index=-1), "an output came of a frame that was never sent"),
        (lambda server: server.output(captured_at=float("nan")), "an output has no time"),
        (lambda server: server.output(image=compressed(IMAGE[:8])), "frames of 64x8 came, not of"),
        (lambda server: server.output(image=b"GIF89a"), "a frame holds no JPEG or PNG image"),
        (lambda server: server.engine(type="open"), "the engine says what no engine says"),
        (lambda server: server.engine(warmup_s=1e12), "the engine says how long it took"),
        (lambda server: server.engine(times=30), "more than 9 messages of the engine a second"),
        (lambda server: server.send("refused", text=["x"]), "x"),
    ],
)
def test_a_server_that_lies_floods_or_vanishes_is_lost_with_the_reason(
    act: Act,
    why: str,
    identity: ServerIdentity,
    rings: EngineFrames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "MOST_ENGINE_MESSAGES", 9)
    reason, _ = asyncio.run(_meet(act, identity, rings))
    assert why in reason
    assert "\n" not in reason


def test_what_a_server_says_moves_no_cursor_and_sets_no_exit_status_of_its_own(
    identity: ServerIdentity, rings: EngineFrames
) -> None:
    def speak(server: LyingServer) -> None:
        server.engine(type="failed", text="\x1b[2Jgone", exit_code=0)
        server.raw(b"not JSON\n")

    _, (_, message) = asyncio.run(_meet(speak, identity, rings))
    assert (message.text, message.exit_code) == (r"\u001b[2Jgone", 1)
