import http.server
import io
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count, islice
from pathlib import Path

import pytest
from PIL import Image as Pillow

from streamcam.errors import DeviceError
from streamcam.sources.network_stream import OPEN_S, SNAPSHOTS_PER_S, NetworkStream
from streamcam.types import Frame
from tests.support.media import RED, encode, noise, plain, write


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


class CameraHandler(SilentHandler):
    """A camera: answers every request with what `answers` gives next."""

    answers: Callable[[], Iterable[bytes]]

    def do_GET(self) -> None:
        with suppress(OSError):
            for part in type(self).answers():
                self.wfile.write(part)


@pytest.fixture
def camera() -> Iterator[Callable[[Callable[[], Iterable[bytes]]], str]]:
    """Return a function that starts a camera, and gives its URL."""
    with ExitStack() as stack:

        def start(answers: Callable[[], Iterable[bytes]]) -> str:
            handler = type("Handler", (CameraHandler,), {"answers": staticmethod(answers)})
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/shot"

        yield start


def jpeg(level: int) -> bytes:
    content = io.BytesIO()
    Pillow.fromarray(plain((level, level, level))).save(content, "JPEG")
    return content.getvalue()


def answer(content: bytes, kind: str, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def brightness(frame: Frame) -> int:
    return round(float(frame.image.mean()))


def test_a_url_of_one_image_is_asked_again_and_may_fail_now_and_then(
    camera: Callable[[Callable[[], Iterable[bytes]]], str],
) -> None:
    asked = count()

    def shot() -> Iterable[bytes]:
        number = next(asked)
        if number == 2:
            return [answer(b"busy", "text/plain", "503 Busy")]
        if number == 3:
            return [answer(jpeg(200)[:100], "image/jpeg")]
        return [answer(jpeg(10 * number), "image/jpeg")]

    with NetworkStream(camera(shot)) as source:
        frames = list(islice(source, 4))
    assert [brightness(frame) for frame in frames] == pytest.approx([0, 10, 40, 50], abs=1)
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert 0 < source.rate <= SNAPSHOTS_PER_S


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("multipart/x-mixed-replace; boundary=f", b"--f\r\n", b""),
        ('multipart/x-mixed-replace;boundary="f"', b"--f\r\n", b""),
        ("multipart/x-mixed-replace", b"--f\r\n", b""),
        ("image/jpeg", b"--f\r\n", b""),
        # Small cameras with old firmware send the boundary behind the image.
        ("multipart/x-mixed-replace; boundary=f", b"", b"--f\r\n"),
    ],
)
def test_motion_jpeg_over_http_is_read_as_cameras_send_it(
    camera: Callable[[Callable[[], Iterable[bytes]]], str], kind: str, before: bytes, after: bytes
) -> None:
    def stream() -> Iterable[bytes]:
        yield f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode()
        for number in range(200):
            image = jpeg(number)
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n".encode()
            yield before + head + image + b"\r\n" + after

    with NetworkStream(camera(stream)) as source:
        frames = list(islice(source, 150))
    levels = [brightness(frame) for frame in frames]
    assert levels == pytest.approx(list(range(levels[0], levels[0] + 150)), abs=1)


def test_an_endless_stream_of_damage_does_not_keep_the_thread_of_a_source_that_was_left(
    camera: Callable[[Callable[[], Iterable[bytes]]], str],
) -> None:
    def stream() -> Iterable[bytes]:
        yield b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"
        for number in count():
            image = jpeg(100) if number < 10 else b"\xff\xd8" + bytes(500)
            yield b"--f\r\nContent-Type: image/jpeg\r\n\r\n" + image + b"\r\n"

    with NetworkStream(camera(stream)) as source:
        assert brightness(next(iter(source))) == pytest.approx(100, abs=1)
        (thread,) = (t for t in threading.enumerate() if t.name == "url" and t.is_alive())
    thread.join(OPEN_S)
    assert not thread.is_alive()


def test_a_frame_that_a_file_holds_for_long_is_given_again(tmp_path: Path, server_url: str) -> None:
    times = [0.0, 0.04, 0.9]
    held = [
        Frame(plain((level, 0, 0)), i, t)
        for i, (level, t) in enumerate(zip((0, 100, 200), times, strict=True))
    ]
    write(tmp_path / "a.mkv", held)
    levels: list[int] = []
    with NetworkStream(f"{server_url}/a.mkv") as source:
        seen = (int(frame.image[..., 0].mean()) for frame in source)
        with pytest.raises(DeviceError, match="ended"):
            levels.extend(seen)
    assert levels[0] < 10
    assert levels[1:-1] == pytest.approx([100] * (len(levels) - 2), abs=4)
    assert len(levels) > 4
    assert levels[-1] > 190


def test_a_stream_is_shown_as_its_metadata_says(tmp_path: Path, server_url: str) -> None:
    encode(tmp_path / "a.ts", [plain(RED)] * 30, codec_options={"x264-params": "sar=2/1"})
    with NetworkStream(f"{server_url}/a.ts") as source:
        frame = next(iter(source))
    assert frame.image.shape == (48, 128, 3)


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


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a bug"), SystemExit(1)])
def test_whatever_ends_the_decoder_reaches_the_reader_at_once(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("streamcam.sources.network_stream.av.open", fail)
    with NetworkStream("http://127.0.0.1:1/") as source, pytest.raises(type(error)):
        next(iter(source))
