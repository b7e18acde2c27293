"""A GPU engine gets whole frames, and its packed outputs go to the virtual camera unconverted."""

from collections import Counter
from dataclasses import replace
from multiprocessing import Pipe
from typing import Any

import numpy as np
import pytest

from streamcam.control.state import Control
from streamcam.errors import EngineError, StreamcamError
from streamcam.pixels import FORMATS
from streamcam.runtime.broadcast import BroadcastLoop
from streamcam.runtime.engine_message import EngineMessage
from streamcam.runtime.engine_process import EngineProcess
from streamcam.runtime.engine_worker import NEWEST_TAKEN, run_stream
from streamcam.runtime.frame_ring import FrameRing
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.sinks.virtual_camera import VirtualCamera
from streamcam.types import Frame, Image
from tests.runtime.broadcast_helpers import FakeCamera, RecordingSink

SETTINGS = {"width": 64, "height": 64, "canvas": "160x90", "camera_size": "160x90"}


def frame(height: int, width: int) -> Frame:
    return Frame(np.full((height, width, 3), 90, np.uint8), 3, 1.5)


def engine_on(device: str, **settings: Any) -> EngineProcess:
    return EngineProcess(
        build_config([SETTINGS | settings | {"device": device}]), on_fatal_error=_raise
    )


def _raise(error: StreamcamError) -> None:
    raise error


def offered(engine: EngineProcess, camera_frame: Frame) -> Image:
    """Return the image that reaches the engine."""
    engine.offer(camera_frame, Parameters())
    [entry] = engine._frames.rings[0].take()
    return entry.image


def test_an_engine_that_accepts_any_size_gets_whole_frames_once_it_is_ready() -> None:
    engine = engine_on("cuda")
    try:
        assert offered(engine, frame(90, 160)).shape == (64, 64, 3)
        engine._handle_message(EngineMessage("ready", accepts_any_size=True))
        assert offered(engine, frame(90, 160)).shape == (90, 160, 3)
        assert offered(engine, frame(30, 40)).shape == (30, 40, 3)
        # Larger than the requested camera size: there is no room.
        assert offered(engine, frame(180, 320)).shape == (64, 64, 3)
        engine._reset_state()
        assert offered(engine, frame(90, 160)).shape == (64, 64, 3)
    finally:
        engine.stop()


def test_a_cpu_engine_gets_fitted_frames() -> None:
    engine = engine_on("cpu")
    try:
        engine._handle_message(EngineMessage("ready"))
        assert offered(engine, frame(90, 160)).shape == (64, 64, 3)
    finally:
        engine.stop()


class OneOutput:
    """Stream that returns one output with packed pixels, and then fails."""

    chunk = 1
    accepts_any_size = True
    is_settled = True
    notice = ""

    def __init__(self, output: Frame) -> None:
        self.counts: Counter[str] = Counter()
        self._left = [[output]]

    def warm_up(self) -> None:
        return

    def __call__(self, _frame: Frame, _parameters: Parameters) -> list[Frame]:
        if not self._left:
            raise EngineError("that was all")
        return self._left.pop()

    def drain(self, _parameters: Parameters) -> list[Frame]:
        return []


@pytest.mark.parametrize("pixel_format", ["yuyv", "nv12"])
def test_an_output_comes_back_on_the_canvas_with_its_packed_pixels(pixel_format: str) -> None:
    engine = engine_on("cuda", pixel_format=pixel_format)
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    made = Frame(image, 3, 1.5, FORMATS[pixel_format](image).reshape(-1))
    try:
        frames = FrameRing((64, 64, 3), capacity=2)
        output = only_output(engine, OneOutput(made), EndlessRing(frames))
        assert (output.image == image).all()
        assert (output.packed == made.packed).all()
        assert (output.index, output.captured_at) == (3, 1.5)
        assert engine._frames.rings[1].counters[NEWEST_TAKEN] == 3
        assert engine.work.frames == 1
        assert engine.work.busy_s > 0
        assert engine.is_settled
    finally:
        engine.stop()
        frames.close(unlink=True)


@pytest.mark.parametrize(
    ("live", "fixed", "kept"),
    [
        ({}, {}, True),
        ({"detail": 0}, {}, False),
        ({"detail": 0}, {"empty_prompt": "camera"}, True),
    ],
)
def test_an_output_finds_the_camera_frame_that_it_was_made_of(
    live: dict[str, Any], fixed: dict[str, Any], kept: bool
) -> None:
    engine = engine_on("cpu", **fixed)
    camera_frames = [frame(90, 160) for _ in range(3)]
    camera_frames = [replace(one, index=index) for index, one in enumerate(camera_frames)]
    try:
        engine.state = "running"
        for camera_frame in camera_frames:
            engine.offer(camera_frame, Parameters().changed(live))
        ring = engine._frames.rings[1]
        ring.put(frame(64, 64).image, 2, 1.5, made_of=1)
        [output] = engine.outputs()
        source = engine.source_of(output)
        assert (source is not None) == kept
        if source is not None:
            assert source.image is camera_frames[1].image
            assert source.small is not None
            assert source.small.shape == (64, 64, 3)
    finally:
        engine.stop()


class EndlessRing:
    """Ring that always has one more frame."""

    missed = 0

    def __init__(self, ring: FrameRing) -> None:
        self._ring = ring

    def wait(self, _timeout_s: float) -> bool:
        return True

    def take(self) -> Any:
        metadata = Parameters().model_dump_json().encode()
        self._ring.put(frame(64, 64).image, 3, 1.5, version=1, metadata=metadata)
        return self._ring.take()


def only_output(engine: EngineProcess, stream: OneOutput, frames: Any) -> Frame:
    """Run `stream` on `frames` until it fails; return what has come out on the broadcast's side."""
    _, connection = Pipe()
    outputs = engine._frames.rings[1]
    with pytest.raises(EngineError, match="that was all"):
        run_stream(stream, build_config([SETTINGS]), frames, outputs, connection.send)
    engine.state = "running"
    [output] = engine.outputs()
    return output


class LaterOutput(OneOutput):
    """Stream that has the output of a frame once it is asked for it, and then fails."""

    def __init__(self, output: Frame) -> None:
        super().__init__(output)
        self._taken: list[Frame] = []
        self.waits = 0

    def __call__(self, frame: Frame, _parameters: Parameters) -> list[Frame]:
        self._taken.append(frame)
        return []

    def wait(self) -> None:
        self.waits += 1

    def finish(self) -> list[Frame]:
        return super().__call__(self._taken.pop(), Parameters()) if self._taken else []


class OneFrame(EndlessRing):
    """Ring that has two frames, and between them none."""

    def __init__(self, ring: FrameRing) -> None:
        super().__init__(ring)
        self._waits = 0

    def wait(self, timeout_s: float) -> bool:
        # Asked without waiting whether there is a frame at once, then for some time.
        self._waits += 1
        return self._waits % 2 == 0 or timeout_s > 0


def test_an_output_that_is_still_being_made_does_not_wait_for_another_frame() -> None:
    engine = engine_on("cpu")
    made, frames = Frame(frame(64, 64).image, 3, 1.5), FrameRing((64, 64, 3), capacity=2)
    stream = LaterOutput(made)
    try:
        output = only_output(engine, stream, OneFrame(frames))
        assert (output.image == made.image).all()
        # Two frames were taken, and the newest one only when the stream was ready for it.
        assert stream.waits == 2
    finally:
        engine.stop()
        frames.close(unlink=True)


@pytest.mark.parametrize(("opacity", "unchanged"), [(1.0, True), (0.5, False)])
def test_packed_pixels_are_sent_only_with_an_output_that_was_not_changed(
    opacity: float, unchanged: bool
) -> None:
    config = build_config([SETTINGS | {"model": "passthrough"}])
    broadcast = BroadcastLoop(
        config, Control(config), FakeCamera(), lambda _: [("seen", RecordingSink())]
    )
    image = frame(90, 160).image
    output = Frame(image, 3, 1.5, FORMATS["yuyv"](image).reshape(-1))
    sent: list[Frame] = []
    broadcast._sink_threads[0].put = lambda outgoing: sent.append(outgoing.frame)
    composed = image if opacity == 1 else (image * opacity).astype(np.uint8)
    broadcast._send(composed, output, fresh=True, now=2.0)
    assert (sent[0].packed is output.packed) == unchanged
    assert (sent[0].packed is None) == (not unchanged)
    broadcast._send(composed, None, fresh=True, now=2.0)
    assert sent[1].packed is None


class FakeDevice:
    """Virtual camera device that keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[np.ndarray] = []

    def send(self, pixels: np.ndarray) -> None:
        self.written.append(pixels)

    def close(self) -> None:
        return


def test_the_virtual_camera_sends_packed_pixels_and_converts_other_frames_once() -> None:
    sink = VirtualCamera(None, (160, 90), 30.0, "yuyv")
    sink._format, sink._convert = "yuyv", FORMATS["yuyv"]
    device = FakeDevice()
    sink._backend = device
    packed = np.arange(160 * 90 * 2, dtype=np.uint8)
    plain = frame(90, 160)
    sink.send(Frame(frame(90, 160).image, 1, 0.0, packed))
    sink.send(plain)
    sink.send(plain)
    assert device.written[0] is packed
    assert (device.written[1] == FORMATS["yuyv"](plain.image)).all()
    assert device.written[2] is device.written[1]


def test_a_virtual_camera_in_rgb_gets_rgb() -> None:
    sink = VirtualCamera(None, (160, 90), 30.0, "rgb")
    device = FakeDevice()
    sink._backend = device
    output = Frame(frame(90, 160).image, 1, 0.0, np.zeros(160 * 90 * 2, np.uint8))
    sink.send(output)
    assert device.written[0] is output.image
