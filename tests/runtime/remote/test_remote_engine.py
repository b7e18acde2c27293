"""An engine behind the network: a real server, real engine processes, and a relay in between."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from benchmarks.lossy_relay import LossyRelay
from streamcam.errors import ConfigError, EngineError
from streamcam.runtime.engine_elsewhere import with_engine_elsewhere
from streamcam.runtime.engine_process import LOST, RUNNING, EngineProcess
from streamcam.runtime.engine_worker import IDENTITY
from streamcam.runtime.remote import engine_connection, engine_server
from streamcam.runtime.remote import peer as peer_module
from streamcam.runtime.remote.engine_connection import connected
from streamcam.runtime.remote.peer import Peer
from streamcam.runtime.remote.wire import WireFrame, compressed, frame_bytes
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from tests.support.engine_servers import SERVED, TOKEN, served


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Yield the port of a server with one engine."""
    with served(clients=1, together=1) as port:
        yield port


def elsewhere(port: int, **settings: Any) -> Config:
    given = {"engine": f"127.0.0.1:{port}", "token": TOKEN, "engine_deadline": 3.0}
    return with_engine_elsewhere(build_config([{**given, **settings}]))


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def running_engine(config: Config) -> Iterator[EngineProcess]:
    failures: list[object] = []
    engine = EngineProcess(config, failures.append)
    engine.start()
    try:
        wait_for(lambda: engine.state == RUNNING or failures)
        assert not failures
        yield engine
    finally:
        engine.stop()


def send_until_answered(engine: EngineProcess, config: Config, index: int) -> Frame:
    image = np.full((48, 64, 3), index % 250, np.uint8)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        engine.offer(Frame(image, index, 100.0 + index), config.live)
        time.sleep(0.03)
        for output in engine.outputs():
            if output.index == index:
                return output
    raise AssertionError("no output came")


def test_the_performers_machine_takes_over_the_settings_of_the_engine(port: int) -> None:
    config = elsewhere(port, seed=9, faders={"delta": 1.5})
    assert (config.model, config.width, config.height) == (IDENTITY, 64, 48)
    assert (config.live.guidance_scale, config.live.seed) == (3.0, 9)
    assert config.broadcast.faders == {"strength": (0, 0.5), "delta": (0, 1.5)}


def test_a_setting_that_contradicts_the_engine_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match=r"runs with model identity, not nano: leave it out"):
        elsewhere(port, model="nano")
    with pytest.raises(ConfigError, match=r"runs with width 64, not 512"):
        elsewhere(port, width=512)


def test_frames_come_back_with_their_own_times_and_a_lost_network_is_a_lost_engine(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with LossyRelay(("127.0.0.1", port), delay_s=0.002, loss=0.03) as relay:
        config = elsewhere(relay.port)
        with running_engine(config) as engine:
            output = send_until_answered(engine, config, 5)
            assert output.captured_at == 105.0
            assert np.abs(output.image.astype(int) - 5).max() <= 3
            wait_for(lambda: engine.taken > 0)
            with pytest.raises(EngineError, match=r"all its engines are in use \(1; see"):
                asyncio.run(_connect(port, "another"))

            began, relay.down = time.monotonic(), True
            wait_for(lambda: engine.state == LOST)
            assert time.monotonic() - began < 10
            relay.down = False
            wait_for(lambda: engine.state == RUNNING)
            assert send_until_answered(engine, config, 6).index == 6
            # The values in use are not to blame.
            assert not engine.notice
    assert "no answer from the engine" in caplog.text


def test_a_wrong_token_is_told_from_a_machine_that_does_not_answer(port: int) -> None:
    with pytest.raises(EngineError, match=f"the token is not that of 127.0.0.1:{port}"):
        elsewhere(port, token="another-token")
    with pytest.raises(ConfigError, match="asks for a token: give --token"):
        elsewhere(port, token=None)


def test_nobody_there_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_connection, "CONNECT_S", 0.3)
    with pytest.raises(EngineError, match=r'127.0.0.1:9.*is "streamcam serve" running there'):
        elsewhere(9)


def test_another_version_is_refused_with_the_remedy(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_server, "PROTOCOL", 2)
    with pytest.raises(EngineError, match="install the same version on both machines"):
        elsewhere(port)


async def _connect(port: int, client: str, then: Callable[[Peer], None] | None = None) -> None:
    """Come as a client of another name, and do something; raise what the server says."""
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    class Listener:
        def on_message(self, message: dict[str, Any]) -> None:
            if message["kind"] == "refused" and not said.done():
                said.set_result(message["text"])

        def on_frame(self, data: bytes) -> None: ...

        def on_end(self, reason: str) -> None: ...

    async with connected(f"127.0.0.1:{port}", TOKEN, "frames", client) as (peer, _):
        peer.listener = Listener()
        if then:
            then(peer)
            raise EngineError(await asyncio.wait_for(said, 10))


PARAMETERS = SERVED.live.model_dump_json().encode()
BLACK = np.zeros((48, 64, 3), np.uint8)
BAD_FRAME = b"\0" * 40


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (lambda peer: peer.send("hello"), "nobody sends"),
        (lambda peer: peer.send("open", path="/etc/passwd"), "nobody sends"),
        (lambda peer: peer.send("got", frame="x"), "no number"),
        (lambda peer: peer.send_frame(b"x"), "cut off"),
        (lambda peer: peer.send_frame(BAD_FRAME), "no image|parameters"),
        (lambda peer: [peer.send("got", frame=0) for _ in range(99)] and peer.send("x"), "sends"),
    ],
)
def test_what_no_streamcam_sends_ends_the_connection_and_nothing_else(
    port: int, sent: Callable[[Peer], None], why: str
) -> None:
    wait_for(lambda: _is_free(port))
    with pytest.raises(EngineError, match=why):
        asyncio.run(_connect(port, "another", sent))
    wait_for(lambda: _is_free(port))


def test_a_flood_of_frames_ends_the_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "MOST_FPS", 3)
    frame = frame_bytes(WireFrame(0, 0, 0.0, 1, PARAMETERS, compressed(BLACK)))
    wait_for(lambda: _is_free(port))
    with pytest.raises(EngineError, match="more than 3 frames a second came"):
        asyncio.run(_connect(port, "another", lambda peer: _send(peer, frame, 5)))


def test_a_value_of_another_type_ends_the_connection_with_the_reason(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_session: object, _data: bytes) -> None:
        int("x")

    monkeypatch.setattr(engine_server._Session, "on_frame", fail)
    wait_for(lambda: _is_free(port))
    with pytest.raises(EngineError, match="what came makes no sense: invalid literal"):
        asyncio.run(_connect(port, "another", lambda peer: _send(peer, b"x", 1)))


def _send(peer: Peer, frame: bytes, count: int) -> None:
    for _ in range(count):
        peer.send_frame(frame)


def _is_free(port: int) -> bool:
    try:
        asyncio.run(_connect(port, "another"))
    except EngineError:
        return False
    return True


def test_two_clients_share_one_engine_and_each_gets_its_own_frames() -> None:
    with served(clients=2, together=2) as port:
        config = elsewhere(port)
        with running_engine(config) as first, running_engine(config) as second:
            for index, engine in ((7, first), (90, second)):
                output = send_until_answered(engine, config, index)
                assert output.image.mean() == pytest.approx(index, abs=2)
