import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count, islice
from threading import Event, Thread
from urllib.parse import urlsplit

import av
import cv2
import httpx
import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from streamcam.errors import DeviceError
from streamcam.sinks.preview import FAULTS_AT_ONCE, Preview, connections, web
from streamcam.sinks.preview.connections import MAX_PER_HOST, MAX_STREAMS
from streamcam.sinks.preview.mjpeg import encoded
from streamcam.system.web_tokens import WebTokens
from streamcam.types import Frame, Image
from tests.support.media import BLUE, GREEN, RED, plain, run_script
from tests.support.scenes import STATUS, FakeBroadcastView


@contextmanager
def broadcast(sink: Preview, *images: Image, fps: int = 50) -> Iterator[None]:
    """Send the images again and again, as a broadcast does, until the block ends."""
    over = Event()

    def send() -> None:
        for index in count():
            if over.wait(1 / fps):
                return
            sink.send(Frame(images[index % len(images)], index, 0.0))

    thread = Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def view() -> FakeBroadcastView:
    return FakeBroadcastView()


@pytest.fixture
def preview(view: FakeBroadcastView) -> Iterator[Preview]:
    with Preview("127.0.0.1", 0, view) as sink:
        yield sink


class Viewer:
    """An MJPEG reader independent of the code under test."""

    def __init__(self, preview: Preview, which: str = "after") -> None:
        self._answer = httpx.stream("GET", f"{preview.url}{which}.mjpg", timeout=5)

    def __enter__(self) -> "Viewer":
        response = self._answer.__enter__()
        assert response.status_code == 200
        kind, _, boundary = response.headers["content-type"].partition("; boundary=")
        assert kind == "multipart/x-mixed-replace"
        self._boundary = f"--{boundary}\r\n".encode()
        self._bytes = response.iter_bytes()
        self._buffer = b""
        assert self._read_until(b"\r\n") + b"\r\n" == self._boundary
        return self

    def __exit__(self, *error: object) -> None:
        self._answer.__exit__(None, None, None)

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._buffer += next(self._bytes)
        content, self._buffer = self._buffer.split(mark, 1)
        return content

    def next_image(self) -> Image:
        """Return the next image of the stream."""
        head = self._read_until(b"\r\n\r\n").decode().split("\r\n")
        assert head[0] == "Content-Type: image/jpeg"
        body = self._read_until(b"\r\n" + self._boundary)
        assert len(body) == int(head[1].removeprefix("Content-Length: "))
        return decode(body)


def decode(jpeg: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(image, np.uint8)


def has_colour(image: Image, colour: tuple[int, ...]) -> bool:
    return bool(np.abs(image.reshape(-1, 3).mean(0) - colour).max() < 6)


def test_a_stream_shows_each_frame_that_is_sent(preview: Preview) -> None:
    with Viewer(preview) as viewer:
        for colour in (RED, GREEN, BLUE):
            preview.send(Frame(plain(colour), 0, 0.0))
            assert has_colour(viewer.next_image(), colour)


def test_before_shows_the_input(preview: Preview, view: FakeBroadcastView) -> None:
    view.newest_input = Frame(plain(GREEN), 0, 0.0)
    preview.send(Frame(plain(RED), 0, 0.0))
    with Viewer(preview, "before") as before, Viewer(preview) as after:
        assert has_colour(before.next_image(), GREEN)
        assert has_colour(after.next_image(), RED)
    jpeg = httpx.get(f"{preview.url}before.jpg")
    assert has_colour(decode(jpeg.content), GREEN)


def test_a_single_jpeg_is_the_newest_frame(preview: Preview) -> None:
    for colour in (RED, BLUE):
        preview.send(Frame(plain(colour), 0, 0.0))
        answer = httpx.get(f"{preview.url}after.jpg")
        assert answer.headers["content-type"] == "image/jpeg"
        assert has_colour(decode(answer.content), colour)


def test_before_the_first_frame_the_client_is_asked_to_retry(preview: Preview) -> None:
    answer = httpx.get(f"{preview.url}after.jpg")
    assert (answer.status_code, answer.text) == (503, "no frame yet")
    with Viewer(preview) as viewer:
        preview.send(Frame(plain(RED), 0, 0.0))
        assert has_colour(viewer.next_image(), RED)


def test_nothing_is_encoded_without_viewers(preview: Preview) -> None:
    for colour in (RED, GREEN):
        preview.send(Frame(plain(colour), 0, 0.0))
    httpx.get(preview.url)
    httpx.get(f"{preview.url}stats")
    assert not any(latest.encodings for latest in preview.images.values())
    httpx.get(f"{preview.url}after.jpg")
    assert [latest.encodings for latest in preview.images.values()] == [1, 0, 0]


def test_a_frame_is_encoded_once_for_all_viewers(preview: Preview) -> None:
    with Viewer(preview) as one, Viewer(preview) as two, Viewer(preview) as three:
        for number, colour in enumerate((RED, GREEN, BLUE), start=1):
            preview.send(Frame(plain(colour), 0, 0.0))
            for viewer in (one, two, three):
                assert has_colour(viewer.next_image(), colour)
            assert preview.images["after"].encodings == number


def test_an_unchanged_frame_is_sent_once_a_second_and_encoded_once(
    preview: Preview,
) -> None:
    with broadcast(preview, plain(RED)), Viewer(preview) as viewer:
        viewer.next_image()
        began = time.monotonic()
        viewer.next_image()
        viewer.next_image()
        assert 1.8 < time.monotonic() - began < 6
    assert preview.images["after"].encodings == 1


def test_a_stream_goes_on_when_nothing_more_is_sent(preview: Preview) -> None:
    preview.send(Frame(plain(RED), 0, 0.0))
    with Viewer(preview) as viewer:
        assert has_colour(viewer.next_image(), RED)
        assert has_colour(viewer.next_image(), RED)


def request(preview: Preview, path: str) -> socket.socket:
    """Request `path` and leave the response unread."""
    address = urlsplit(preview.url)
    reader = socket.create_connection((str(address.hostname), int(address.port or 0)))
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    reader.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    return reader


def test_a_slow_viewer_delays_nobody_and_gets_the_newest_frame(preview: Preview) -> None:
    rng = np.random.default_rng(0)
    busy = [rng.integers(0, 256, (360, 640, 3), dtype=np.uint8) for _ in range(3)]
    with Viewer(preview) as viewer:

        def send_times(number: int) -> list[float]:
            """Return the seconds that sending each of `number` frames took."""
            took = []
            for index in range(number):
                began = time.perf_counter()
                preview.send(Frame(busy[index % 3], index, 0.0))
                took.append(time.perf_counter() - began)
                viewer.next_image()
            return took

        undisturbed = send_times(30)
        with request(preview, "/after.mjpg") as reader:
            took = send_times(30)
            assert statistics.median(took) < 3 * statistics.median(undisturbed) + 0.02
            # A sender that waited for the reader would wait for ever: it reads nothing yet.
            assert max(took) < max(undisturbed) + 1
            assert_reader_gets_the_newest_frame(preview, viewer, reader)


def assert_reader_gets_the_newest_frame(
    preview: Preview, viewer: Viewer, reader: socket.socket
) -> None:
    preview.send(Frame(plain(RED, width=640, height=360), 30, 0.0))
    viewer.next_image()
    received = b""
    reader.settimeout(5)
    red = encoded(plain(RED, width=640, height=360))
    while red[-200:] not in received:
        received += reader.recv(1 << 20)
    assert received.count(b"Content-Type: image/jpeg") <= 8


@pytest.mark.parametrize("path", ["/after.mjpg", "/before.mjpg"])
def test_the_preview_stops_at_once_with_streams_open_and_viewers_stuck(
    view: FakeBroadcastView, path: str
) -> None:
    rng = np.random.default_rng(0)
    busy = rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    view.newest_input = Frame(busy, 0, 0.0)
    with Preview("127.0.0.1", 0, view) as sink:
        readers = [request(sink, path) for _ in range(3)]
        with Viewer(sink) as viewer:
            for index in range(20):
                sink.send(Frame(busy + np.uint8(index), index, 0.0))
                viewer.next_image()
            began = time.monotonic()
            sink.__exit__(None, None, None)
            assert time.monotonic() - began < 2
    for reader in readers:
        reader.close()


def test_the_preview_can_be_entered_again_at_the_same_port(view: FakeBroadcastView) -> None:
    with Preview("127.0.0.1", 0, view) as sink:
        port = urlsplit(sink.url).port
    again = Preview("127.0.0.1", port or 0, view)
    for _ in range(3):
        with again, Viewer(again) as viewer:
            again.send(Frame(plain(BLUE), 0, 0.0))
            assert has_colour(viewer.next_image(), BLUE)


def test_viewers_beyond_the_limit_are_refused_with_the_reason(preview: Preview) -> None:
    preview.send(Frame(plain(RED), 0, 0.0))
    viewers = [Viewer(preview) for _ in range(16)]
    for viewer in viewers:
        viewer.__enter__()
    answer = httpx.get(f"{preview.url}after.mjpg")
    assert answer.status_code == 503
    assert answer.text == "16 streams are being watched already; close one"
    assert httpx.get(f"{preview.url}after.jpg").status_code == 200
    viewers.pop().__exit__()
    for _ in range(100):
        preview.send(Frame(plain(RED), 0, 0.0))
        if httpx.head(f"{preview.url}after.mjpg").status_code == 200:
            break
    with Viewer(preview) as viewer:
        viewer.next_image()
    for viewer in viewers:
        viewer.__exit__()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUEST_S", "STALLED_S", "SWEEP_S"):
        monkeypatch.setattr(connections, name, 0.05)


def connected(preview: Preview, host: str = "127.0.0.1") -> socket.socket:
    address = urlsplit(preview.url)
    server = (str(address.hostname), int(address.port or 0))
    return socket.create_connection(server, timeout=5, source_address=(host, 0))


def is_closed(opened: socket.socket) -> bool:
    """Return True once the server has closed the connection, having read all it sent."""
    with opened, suppress(ConnectionError):
        while opened.recv(1 << 20):
            pass
    return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: local",
        b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx",
    ],
    ids=["nothing", "half a head", "idle after an answer", "half a body"],
)
def test_a_connection_is_closed_that_sends_no_whole_request(
    impatient: None, preview: Preview, sent: bytes
) -> None:
    with connected(preview) as opened:
        opened.sendall(sent)
        with suppress(ConnectionError):
            # A byte now and then makes no difference.
            while opened.recv(1 << 16):
                opened.sendall(b"x")
    assert status_of(preview) == 200


def test_half_open_connections_of_a_host_are_limited_and_keep_nobody_out(preview: Preview) -> None:
    silent = [connected(preview, "127.0.0.2") for _ in range(MAX_PER_HOST + 8)]
    assert all(is_closed(opened) for opened in silent[:8])
    with connected(preview, "127.0.0.2") as latest:
        latest.sendall(b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert latest.recv(100).startswith(b"HTTP/1.1 200")
    silent += [connected(preview, f"127.0.0.{host}") for host in (3, 4) for _ in range(40)]
    assert status_of(preview) == 200
    for opened in silent:
        opened.close()


def test_a_stream_that_nobody_reads_makes_room_for_another(
    impatient: None, preview: Preview
) -> None:
    rng = np.random.default_rng(0)
    busy = [rng.integers(0, 256, (360, 640, 3), dtype=np.uint8) for _ in range(2)]
    unread = [request(preview, "/after.mjpg") for _ in range(MAX_STREAMS)]
    with broadcast(preview, *busy):
        for _ in range(1000):
            with httpx.stream("GET", f"{preview.url}after.mjpg", timeout=5) as answer:
                if answer.status_code == 200:
                    assert next(answer.iter_bytes())
                    break
        else:
            pytest.fail("nobody makes room")
    for reader in unread:
        reader.close()


def test_the_streams_of_one_host_keep_no_other_out(preview: Preview) -> None:
    preview.send(Frame(plain(RED), 0, 0.0))
    streams = [connected(preview, "127.0.0.2") for _ in range(MAX_STREAMS)]
    ask = b"GET /after.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for stream in streams:
        stream.sendall(ask)
        assert stream.recv(1 << 16).startswith(b"HTTP/1.1 200")
    with connected(preview, "127.0.0.2") as more:
        more.sendall(ask)
        assert more.recv(100).startswith(b"HTTP/1.1 503")
    with Viewer(preview) as viewer:
        assert has_colour(viewer.next_image(), RED)
    for stream in streams:
        stream.close()


def test_a_host_that_asks_too_often_waits_and_no_other_does(
    view: FakeBroadcastView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "REQUESTS_AT_ONCE", 2)
    monkeypatch.setattr(web, "REQUESTS_PER_SECOND", 0)
    monkeypatch.setattr(web, "BUSY_PAUSE_S", 1.0)
    with Preview("127.0.0.1", 0, view) as sink:
        for _ in range(2):
            assert status_of(sink) == 200
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{sink.url}stats", timeout=0.2)
        with connected(sink, "127.0.0.2") as other:
            other.sendall(b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert other.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), MemoryError(), SystemExit(3)]
)
def test_a_preview_that_cannot_be_started_is_an_error_and_leaves_the_port_free(
    view: FakeBroadcastView, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    sink = Preview("127.0.0.1", 0, view)
    with monkeypatch.context() as patch:
        patch.setattr("asyncio.new_event_loop", fail)
        patch.setattr("asyncio.events.new_event_loop", fail)
        with pytest.raises(DeviceError, match="cannot open the preview"):
            sink.__enter__()
    again = Preview("127.0.0.1", urlsplit(sink.url).port or 0, view)
    with again:
        assert status_of(again) == 200


def test_a_shortage_of_descriptors_is_one_line_now_and_then(
    preview: Preview, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_listener: socket.socket) -> None:
        refused.set()
        raise OSError(24, "Too many open files")

    refused = Event()
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "accept", refuse)
        opened = connected(preview)
        assert refused.wait(5)
    opened.sendall(b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert opened.recv(100).startswith(b"HTTP/1.1 200")
    opened.close()
    lines = [r.getMessage() for r in caplog.records]
    assert 0 < len(lines) <= FAULTS_AT_ONCE
    assert all("Too many open files" in line and "\n" not in line for line in lines)
    assert all(r.exc_info is None for r in caplog.records)


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError()])
@pytest.mark.parametrize("broken", ["uvicorn.Server.on_tick", "asyncio.sleep"])
def test_a_preview_whose_thread_dies_says_so_and_is_opened_again(
    preview: Preview,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
    error: BaseException,
) -> None:
    async def fail(*_arguments: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        preview._thread.join(5)
    with pytest.raises(DeviceError, match="has stopped"):
        preview.send(Frame(plain(RED), 0, 0.0))
    assert [r.getMessage() for r in caplog.records if r.exc_info] == [
        f"the preview at {preview.url} has stopped"
    ]
    preview.__exit__()
    with preview:
        assert status_of(preview) == 200


def status_of(preview: Preview, **headers: str) -> int:
    return httpx.get(f"{preview.url}stats", headers=headers).status_code


def test_requests_for_the_names_of_this_machine_are_answered(preview: Preview) -> None:
    for host in ("localhost", "127.0.0.1:80", "[::1]:8090", "LOCALHOST:1"):
        assert status_of(preview, host=host) == 200


@pytest.mark.parametrize("path", ["", "obs", "stats", "after.mjpg", "after.jpg"])
def test_requests_for_other_host_names_are_refused(preview: Preview, path: str) -> None:
    for host in ("evil.example", "localhost.evil.example:8090", "10.0.0.7", "", "[::1", "@", "a b"):
        assert httpx.get(f"{preview.url}{path}", headers={"host": host}).status_code == 403


def test_requests_of_other_origins_are_refused(preview: Preview) -> None:
    own = preview.url.rstrip("/")
    assert status_of(preview, origin=own) == 200
    for origin in ("http://evil.example", "null", own.replace("http:", "https:"), f"{own}0", ""):
        assert status_of(preview, origin=origin) == 403


def test_a_preview_opened_to_the_network_answers_to_addresses_and_its_name(
    view: FakeBroadcastView,
) -> None:
    view.tokens = WebTokens("s3cret-t0ken")
    with Preview("0.0.0.0", 0, view) as sink:
        assert sink.url.startswith("http://127.0.0.1:")
        for host in ("192.168.1.7:8090", "[fe80::1]", "localhost", socket.gethostname()):
            assert status_of(sink, host=host, authorization="Bearer s3cret-t0ken") == 200
        assert status_of(sink, host="evil.example", authorization="Bearer s3cret-t0ken") == 403


def test_ipv6_is_served(view: FakeBroadcastView) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Preview("::1", 0, view) as sink:
        assert sink.url.startswith("http://[::1]:")
        assert status_of(sink) == 200


def test_the_port_that_0_took_is_logged(
    view: FakeBroadcastView, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "streamcam"), Preview("127.0.0.1", 0, view) as sink:
        assert caplog.messages == [f"preview page {sink.url}"]
        assert not sink.url.endswith(":0/")


def test_a_port_in_use_is_reported_with_the_remedy(
    preview: Preview, view: FakeBroadcastView
) -> None:
    port = urlsplit(preview.url).port or 0
    with pytest.raises(DeviceError, match=rf"127\.0\.0\.1:{port}: the port is in use; choose"):
        Preview("127.0.0.1", port, view).__enter__()


def test_another_port_is_taken_where_one_may_be_and_then_kept(
    preview: Preview, view: FakeBroadcastView, caplog: pytest.LogCaptureFixture
) -> None:
    port = urlsplit(preview.url).port or 0
    other = Preview("127.0.0.1", port, view, tries=10)
    with caplog.at_level("INFO", "streamcam"), other:
        first = other.url
        assert status_of(other) == 200
    assert first != preview.url
    assert caplog.messages == [f"port {port} is in use, so the preview page is {first}"]
    preview.__exit__(None, None, None)
    with other:
        assert other.url == first
    preview.__enter__()


@pytest.mark.parametrize("bind", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_reported(view: FakeBroadcastView, bind: str) -> None:
    with pytest.raises(DeviceError, match=r"no such address; set (one|another) with"):
        Preview(bind, 0, view).__enter__()


def test_stats_are_the_status(preview: Preview) -> None:
    answer = httpx.get(f"{preview.url}stats").json()
    assert answer == {name: getattr(STATUS, name) for name in answer} | {
        "sinks": list(STATUS.sinks),
        "overrides": list(STATUS.overrides),
        "sink_states": list(STATUS.sink_states),
    }
    assert answer["latency_p95"] == 0.11


def test_the_page_for_obs_loads_nothing_from_other_hosts(preview: Preview) -> None:
    answer = httpx.get(f"{preview.url}obs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "://" not in answer.text


@pytest.mark.parametrize("path", ["no", "sideways.mjpg", "sideways.jpg", "../mjpeg.py"])
def test_unknown_paths_are_not_found(preview: Preview, path: str) -> None:
    assert httpx.get(f"{preview.url}{path}").status_code == 404


def test_the_server_is_imported_only_when_the_preview_is_entered() -> None:
    script = """
        import streamcam.sinks.preview
        print({"uvicorn", "starlette"} & set(sys.modules))
    """
    assert run_script(script, "") == "set()\n"


def test_players_read_the_stream(preview: Preview) -> None:
    with (
        broadcast(preview, plain(GREEN)),
        av.open(f"{preview.url}after.mjpg", timeout=10) as container,
    ):
        assert container.format.name == "mpjpeg"
        frames = islice(container.decode(video=0), 2)
        images = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames]
    assert all(has_colour(image, GREEN) for image in images)


def test_a_route_of_the_broadcast_is_served_too_and_answers_a_websocket_of_this_page_only(
    view: FakeBroadcastView,
) -> None:
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("heard " + await socket.receive_text())
        await socket.close()

    view.routes = [WebSocketRoute("/echo", echo)]
    with Preview("127.0.0.1", 0, view) as preview:
        address = preview.url.replace("http", "ws") + "echo"
        with connect(address) as client:
            client.send("go")
            assert client.recv() == "heard go"
        with (
            pytest.raises(InvalidStatus, match="403"),
            connect(address, origin=Origin("http://evil.org")),
        ):
            pass


async def talk(opened: WebSocket) -> None:
    """Send as many messages as the client asks for, each 10 kB, for as long as it does."""
    await opened.accept()
    with suppress(WebSocketDisconnect):
        while True:
            for _ in range(int(await opened.receive_text())):
                await opened.send_text("x" * 10_000)


def web_socket(preview: Preview, host: str = "127.0.0.1") -> ClientConnection:
    address = preview.url.replace("http", "ws") + "talk"
    return connect(address, sock=connected(preview, host), close_timeout=0.1)


@pytest.fixture
def talking(view: FakeBroadcastView) -> Iterator[Preview]:
    view.routes = [WebSocketRoute("/talk", talk)]
    with Preview("127.0.0.1", 0, view) as preview:
        yield preview


def test_websockets_count_among_the_connections_of_a_host(
    talking: Preview, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_PER_HOST", 3)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(web_socket(talking, "127.0.0.2"))
        assert is_closed(connected(talking, "127.0.0.2"))
        assert status_of(talking) == 200


def test_a_websocket_that_is_closed_counts_no_more(
    talking: Preview, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    for _ in range(5):
        with web_socket(talking) as opened:
            opened.send("1")
            assert len(opened.recv(timeout=5)) == 10_000
    assert status_of(talking) == 200


def test_a_websocket_that_is_not_read_for_long_is_closed(
    talking: Preview, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "UNREAD_S", 0.05)
    monkeypatch.setattr(connections, "SWEEP_S", 0.05)
    closed = Event()
    remove = connections.Connections.remove

    def removed(all_: connections.Connections, connection: connections.AnyConnection) -> None:
        remove(all_, connection)
        if isinstance(connection, connections.SocketConnection):
            closed.set()

    monkeypatch.setattr(connections.Connections, "remove", removed)
    with web_socket(talking) as opened:
        opened.send("2000")
        assert closed.wait(10)


def test_answers_are_sent_at_once(preview: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[bool] = []
    add = connections.Connections.add

    def added(all_: connections.Connections, connection: connections.AnyConnection) -> None:
        server = connection.transport.get_extra_info("socket")
        delays.append(not server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        add(all_, connection)

    monkeypatch.setattr(connections.Connections, "add", added)
    assert status_of(preview) == 200
    assert delays == [False]


def test_a_client_cannot_give_another_address_as_its_own(view: FakeBroadcastView) -> None:
    async def host(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.client.host if request.client else "")

    view.routes = [Route("/host", host)]
    with Preview("127.0.0.1", 0, view) as preview:
        answer = httpx.get(f"{preview.url}host", headers={"x-forwarded-for": "10.0.0.7"})
    assert answer.text == "127.0.0.1"


@pytest.mark.parametrize("frame", ["ping", "pong", "fragment"])
def test_a_websocket_that_is_flooded_with_frames_is_closed(
    talking: Preview, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, frame: str
) -> None:
    monkeypatch.setattr(connections, "FRAMES_AT_ONCE", 20)
    bytes_ = {"ping": b"\x89\x80", "pong": b"\x8a\x80", "fragment": b"\x00\x80"}[frame] + bytes(4)
    with web_socket(talking) as opened, suppress(OSError):
        first = b"\x01\x80" + bytes(4) if frame == "fragment" else b""
        opened.socket.sendall(first + bytes_ * 100)
        with pytest.raises(ConnectionClosed):
            opened.recv(timeout=5)
    assert caplog.messages == ["the preview has disconnected 127.0.0.1, which floods it"]
    assert status_of(talking) == 200
