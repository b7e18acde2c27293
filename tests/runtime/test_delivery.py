"""What an engine's device does by itself, nobody else does: whole frames there, ready ones back."""

from multiprocessing import Pipe
from typing import Any

import numpy as np
import pytest

from streamcam.control.state import Control
from streamcam.errors import EngineError, StreamcamError
from streamcam.pixels import FORMATS
from streamcam.runtime.broadcast import Broadcast
from streamcam.runtime.engine_process import EngineProcess
from streamcam.runtime.frame_ring import FrameRing
from streamcam.runtime.worker import EngineMessage, _run
from streamcam.settings.config import build_config
from streamcam.settings.parameters import Parameters
from streamcam.sinks.virtual_camera import VirtualCamera
from streamcam.types import Frame, Image
from tests.runtime.onair import Beam, Seen

SETTINGS = {"width": 64, "height": 64, "canvas": "160x90", "camera_size": "160x90"}


def frame(height: int, width: int) -> Frame:
    return Frame(np.full((height, width, 3), 90, np.uint8), 3, 1.5)


def engine_on(device: str, **settings: Any) -> EngineProcess:
    return EngineProcess(build_config([SETTINGS | settings | {"device": device}]), fatal=_raise)


def _raise(error: StreamcamError) -> None:
    raise error


def offered(engine: EngineProcess, given: Frame) -> Image:
    """Return the frame as it gets to the engine."""
    engine.offer(given, Parameters())
    [message] = engine._frames.take()
    return message.image


def test_a_device_that_fits_frames_gets_them_whole_once_it_says_so() -> None:
    engine = engine_on("cuda")
    try:
        assert offered(engine, frame(90, 160)).shape == (64, 64, 3)
        engine._heard(EngineMessage("ready", whole=True))
        assert offered(engine, frame(90, 160)).shape == (90, 160, 3)
        assert offered(engine, frame(30, 40)).shape == (30, 40, 3)
        # Larger than the camera was asked for: there is no room.
        assert offered(engine, frame(180, 320)).shape == (64, 64, 3)
        engine._begin()
        assert offered(engine, frame(90, 160)).shape == (64, 64, 3)
    finally:
        engine.stop()


def test_a_processor_gets_them_fitted() -> None:
    engine = engine_on("cpu")
    try:
        engine._heard(EngineMessage("ready"))
        assert offered(engine, frame(90, 160)).shape == (64, 64, 3)
    finally:
        engine.stop()


class Once:
    """A stream that gives one picture, ready to go out, and then ends the engine."""

    chunk = 1

    def __init__(self, picture: Frame) -> None:
        self._left = [[picture]]

    def __call__(self, _given: Frame, _parameters: Parameters) -> list[Frame]:
        if not self._left:
            raise EngineError("that was all")
        return self._left.pop()

    def drain(self, _parameters: Parameters) -> list[Frame]:
        return []


@pytest.mark.parametrize("pixel_format", ["yuyv", "nv12"])
def test_a_picture_comes_back_on_the_canvas_with_its_pixels_ready(pixel_format: str) -> None:
    engine = engine_on("cuda", pixel_format=pixel_format)
    _, line = Pipe()
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    made = Frame(image, 3, 1.5, FORMATS[pixel_format](image).reshape(-1))
    try:
        frames = FrameRing((64, 64, 3), capacity=2)
        with pytest.raises(EngineError, match="that was all"):
            _run(Once(made), build_config([SETTINGS]), _Fed(frames), engine._pictures, line)
        engine.state = "running"
        [picture] = engine.pictures()
        assert (picture.image == image).all()
        assert (picture.packed == made.packed).all()
        assert (picture.index, picture.captured_at) == (3, 1.5)
    finally:
        engine.stop()
        frames.close(unlink=True)


class _Fed:
    """A ring that always has one more frame."""

    missed = 0

    def __init__(self, ring: FrameRing) -> None:
        self._ring = ring

    def wait(self, _timeout_s: float) -> bool:
        return True

    def take(self) -> Any:
        note = Parameters().model_dump_json().encode()
        self._ring.put(frame(64, 64).image, 3, 1.5, version=1, note=note)
        return self._ring.take()


@pytest.mark.parametrize(("share", "untouched"), [(1.0, True), (0.5, False)])
def test_ready_pixels_go_out_only_with_a_picture_that_nothing_was_done_to(
    share: float, untouched: bool
) -> None:
    config = build_config([SETTINGS | {"model": "passthrough"}])
    broadcast = Broadcast(config, Control(config), Beam(), lambda _: [("seen", Seen())])
    image = frame(90, 160).image
    picture = Frame(image, 3, 1.5, FORMATS["yuyv"](image).reshape(-1))
    sent: list[Frame] = []
    broadcast._sink_threads[0].put = lambda outgoing: sent.append(outgoing.frame)
    composed = image if share == 1 else (image * share).astype(np.uint8)
    broadcast._send(composed, picture, fresh=True, now=2.0)
    assert (sent[0].packed is picture.packed) == untouched
    assert (sent[0].packed is None) == (not untouched)
    broadcast._send(composed, None, fresh=True, now=2.0)
    assert sent[1].packed is None


class Written:
    """A virtual camera that keeps what it is given."""

    def __init__(self) -> None:
        self.got: list[np.ndarray] = []

    def send(self, given: np.ndarray) -> None:
        self.got.append(given)

    def close(self) -> None:
        return


def test_the_virtual_camera_sends_what_is_ready_and_converts_the_rest_once() -> None:
    sink = VirtualCamera(None, (160, 90), 30.0, "yuyv")
    sink._format, sink._convert = "yuyv", FORMATS["yuyv"]
    written = Written()
    sink._camera = written
    ready = np.arange(160 * 90 * 2, dtype=np.uint8)
    plain = frame(90, 160)
    sink.send(Frame(frame(90, 160).image, 1, 0.0, ready))
    sink.send(plain)
    sink.send(plain)
    assert written.got[0] is ready
    assert (written.got[1] == FORMATS["yuyv"](plain.image)).all()
    assert written.got[2] is written.got[1]


def test_a_camera_that_takes_rgb_is_given_rgb() -> None:
    sink = VirtualCamera(None, (160, 90), 30.0, "rgb")
    written = Written()
    sink._camera = written
    given = Frame(frame(90, 160).image, 1, 0.0, np.zeros(160 * 90 * 2, np.uint8))
    sink.send(given)
    assert written.got[0] is given.image
