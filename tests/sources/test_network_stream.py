import http.server
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from streamcam.errors import DeviceError
from streamcam.sources.network_stream import OPEN_S, NetworkStream, without_password
from tests.support.media import encode, noise


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server_url(tmp_path: Path) -> Iterator[str]:
    handler = partial(SilentHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def silent_host() -> Iterator[str]:
    """A host that accepts a connection and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_file_on_a_server_plays_at_its_own_pace_and_its_end_is_an_error(
    tmp_path: Path, server_url: str
) -> None:
    encode(tmp_path / "a.mp4", [frame.image for frame in noise(30)])
    source = NetworkStream(f"{server_url}/a.mp4")
    got = []
    with source:
        frames = iter(source)
        got.extend(islice(frames, 30))
        with pytest.raises(DeviceError, match="has ended"):
            next(frames)
    assert [frame.index for frame in got] == list(range(30))
    assert 0.7 < got[-1].captured_at - got[0].captured_at < 2
    with source:
        assert len(list(islice(source, 3))) == 3


@pytest.mark.parametrize(
    ("path", "reason"), [("none.mp4", "404"), ("text.txt", "Invalid data|no video")]
)
def test_a_stream_that_cannot_be_played_is_reported_with_the_reason(
    tmp_path: Path, server_url: str, path: str, reason: str
) -> None:
    (tmp_path / "text.txt").write_text("no video here\n" * 100)
    with pytest.raises(DeviceError, match=reason), NetworkStream(f"{server_url}/{path}") as source:
        next(iter(source))


def test_a_playlist_cannot_reach_files_of_this_machine(tmp_path: Path, server_url: str) -> None:
    secret = encode(tmp_path / "secret.ts", [frame.image for frame in noise(10)])
    for name, text in (
        (
            "a.m3u8",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        ),
        ("a.ffconcat", f"ffconcat version 1.0\nfile '{secret}'\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DeviceError), NetworkStream(f"{server_url}/{name}") as source:
            next(iter(source))


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_stopping_does_not_wait_for_a_host_that_never_answers(
    silent_host: str, scheme: str
) -> None:
    source = NetworkStream(f"{scheme}://{silent_host}/x")
    threading.Timer(0.3, source.stop).start()
    began = time.monotonic()
    with source:
        assert list(source) == []
    # Far from the time that it is given to answer.
    assert time.monotonic() - began < OPEN_S / 2


def test_a_refused_connection_is_reported_at_once() -> None:
    with (
        pytest.raises(DeviceError, match="refused"),
        NetworkStream("rtsp://127.0.0.1:1/x") as source,
    ):
        next(iter(source))


def test_a_password_is_not_shown() -> None:
    assert without_password("rtsp://me:secret@host:554/live?token=1") == "rtsp://host:554/live"
    assert without_password("udp://239.0.0.1:1234") == "udp://239.0.0.1:1234"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a bug"), SystemExit(1)])
def test_whatever_ends_the_decoder_reaches_the_reader_at_once(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("streamcam.sources.network_stream.av.open", fail)
    with NetworkStream("http://127.0.0.1:1/") as source, pytest.raises(type(error)):
        next(iter(source))
