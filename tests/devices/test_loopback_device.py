"""The virtual camera on a real device, read by v4l2-ctl, ffmpeg and OpenCV.

Needs a v4l2loopback device labelled "streamcam" that nobody uses, and v4l2-utils and ffmpeg.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamcam import v4l2
from streamcam.errors import DeviceError
from streamcam.sinks.virtual_camera import VirtualCamera, find
from streamcam.types import Frame, Image

pytestmark = pytest.mark.skipif(
    not any(device.is_loopback for device in v4l2.devices()), reason="no v4l2loopback device"
)

SIZE = (640, 480)
COLOURS = [(230, 20, 30), (20, 210, 40), (30, 40, 220), (128, 128, 128)]
FORMATS = ["yuyv", "uyvy", "i420", "nv12", "rgb"]


def bars(width: int = SIZE[0], height: int = SIZE[1]) -> Image:
    """Return upright bars of `COLOURS`, each even in width."""
    columns = np.repeat(np.array(COLOURS, np.uint8), width // len(COLOURS), axis=0)
    return np.ascontiguousarray(np.broadcast_to(columns, (height, width, 3)))


def centres(image: Image) -> list[list[int]]:
    """Return the colour in the middle of each bar."""
    height, width = image.shape[:2]
    step = width // len(COLOURS)
    return [image[height // 2, step // 2 + i * step].tolist() for i in range(len(COLOURS))]


def assert_bars(image: Image) -> None:
    np.testing.assert_allclose(centres(image), COLOURS, atol=4)


def camera(pixel_format: str = "yuyv", size: tuple[int, int] = SIZE) -> VirtualCamera:
    return VirtualCamera(None, size, 30.0, pixel_format)


@contextmanager
def publishing(sink: VirtualCamera, image: Image) -> Iterator[None]:
    """Send `image` at 30 frames per second from a thread of its own."""
    ended = threading.Event()
    failures: list[Exception] = []

    def send() -> None:
        index = 0
        try:
            while not ended.wait(1 / 30):
                sink.send(Frame(image, index, time.monotonic()))
                index += 1
        except DeviceError as error:
            failures.append(error)

    with sink:
        sink.send(Frame(image, 0, time.monotonic()))
        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
    assert not failures


WRITER = """
import sys, time
import numpy as np
from streamcam.sinks.virtual_camera import VirtualCamera
from streamcam.types import Frame
width, height, value, seconds = map(float, sys.argv[1:])
image = np.full((int(height), int(width), 3), int(value), np.uint8)
with VirtualCamera(None, (int(width), int(height)), 30.0, "yuyv") as sink:
    end = time.monotonic() + seconds
    sink.send(Frame(image, 0, 0.0))
    print("on air", flush=True)
    while time.monotonic() < end:
        sink.send(Frame(image, 0, 0.0))
        time.sleep(1 / 30)
"""

# As pyvirtualcam writes: what other programs leave behind.
PYVIRTUALCAM = """
import sys, time
import numpy as np, pyvirtualcam
with pyvirtualcam.Camera(640, 480, 30, device=sys.argv[1]) as camera:
    camera.send(np.zeros((480, 640, 3), np.uint8))
    print("on air", flush=True)
    while len(sys.argv) > 2:
        camera.send(np.zeros((480, 640, 3), np.uint8))
        time.sleep(1 / 30)
"""


Program = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def program() -> Iterator[Program]:
    """Return a function that starts a script in its own Python and waits until it is on air.

    None outlives its test: the next one needs the device.
    """
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "on air\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]", how: signal.Signals | None = None) -> None:
    if how is not None:
        process.send_signal(how)
    process.communicate(timeout=30)


def path() -> Path:
    return find().path


def by_ffmpeg(count: int = 3, *, label: str | None = None) -> Image:
    """Return the last of `count` frames."""
    width, height = SIZE
    device = str(find(label).path)
    command = ["ffmpeg", "-v", "error", "-f", "v4l2", "-i", device, "-frames:v", str(count)]
    done = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        stdout=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)[-1]


def by_opencv(count: int = 3) -> Image:
    capture = cv2.VideoCapture(str(path()), cv2.CAP_V4L2)
    try:
        for _ in range(count):
            ok, image = capture.read()
            assert ok
    finally:
        capture.release()
    return np.asarray(image[..., ::-1])


def by_v4l2_ctl(tmp_path: Path) -> bytes:
    """Return the bytes of one frame in the format of the device."""
    file = tmp_path / "frame"
    arguments = ["--stream-mmap", "--stream-count=1", f"--stream-to={file}"]
    subprocess.run(["v4l2-ctl", "-d", str(path()), *arguments], timeout=30, check=True)
    return file.read_bytes()


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_ffmpeg_and_opencv_see_the_colours_that_were_sent(pixel_format: str) -> None:
    with publishing(camera(pixel_format), bars()):
        assert_bars(by_ffmpeg())
        assert_bars(by_opencv())


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_the_bytes_in_the_device_are_those_of_the_conversion(
    pixel_format: str, tmp_path: Path
) -> None:
    from streamcam.pixels import FORMATS as CONVERSIONS

    with publishing(camera(pixel_format), bars()):
        raw = by_v4l2_ctl(tmp_path)
    assert raw == CONVERSIONS[pixel_format](bars()).tobytes()


@pytest.mark.parametrize(
    ("fps", "announced"), [(30.0, "30"), (60.0, "60"), (24000 / 1001, "24000/1001")]
)
def test_the_rate_is_announced_to_readers(fps: float, announced: str) -> None:
    with publishing(VirtualCamera(None, SIZE, fps, "yuyv"), bars()):
        assert v4l2.attribute(path(), "format") == f"YUYV:640x480@{announced}"


@pytest.mark.parametrize("label", ["streamcam", "StreamCam", "stream", None])
def test_the_device_is_found_by_its_label(label: str | None) -> None:
    assert find(label).name == "streamcam"


def test_the_device_is_found_by_its_path() -> None:
    assert find(str(path())).path == path()


def test_an_unknown_label_is_refused_with_those_present() -> None:
    with pytest.raises(DeviceError, match=r'no virtual camera "studio"; found: .*"streamcam"'):
        find("studio")


def test_a_real_camera_is_refused_as_a_virtual_camera() -> None:
    real = [device for device in v4l2.devices() if device.captures and not device.is_loopback]
    if not real:
        pytest.skip("no camera")
    with pytest.raises(DeviceError, match="which is not a v4l2loopback device"):
        find(str(real[0].path))


def test_a_second_writer_is_refused_with_the_name_of_the_first(program: Program) -> None:
    writer = program(WRITER, *SIZE, 100, 60)
    with pytest.raises(DeviceError, match=rf"in use: .*\({writer.pid}\)"), camera():
        pass
    # And the first is not disturbed.
    assert by_ffmpeg().mean() == pytest.approx(100, abs=3)


def test_a_writer_that_streams_buffers_is_noticed_too() -> None:
    size = f"width={SIZE[0]},height={SIZE[1]}"
    source = ["videotestsrc", "is-live=true", "!", f"video/x-raw,format=YUY2,{size},framerate=30/1"]
    writer = subprocess.Popen(
        ["gst-launch-1.0", "-q", *source, "!", "v4l2sink", f"device={path()}", "io-mode=mmap"]
    )
    try:
        wait_for(lambda: v4l2.device(path()).captures or writer.poll() is not None, 20)
        time.sleep(0.5)
        if writer.poll() is not None:
            pytest.skip("this GStreamer and this v4l2loopback do not go together")
        for _ in range(2):
            with pytest.raises(DeviceError, match=rf"in use: .*\({writer.pid}\)"), camera():
                pass
    finally:
        writer.kill()
        writer.wait()
    with publishing(camera(), bars()):
        assert_bars(by_ffmpeg())


def test_a_sink_can_be_entered_again() -> None:
    sink = camera()
    for _ in range(3):
        with publishing(sink, bars()):
            assert_bars(by_ffmpeg())


@pytest.mark.parametrize("how", [signal.SIGKILL, None], ids=["killed", "ended"])
def test_after_a_writer_has_ended_another_can_write(
    program: Program, how: signal.Signals | None
) -> None:
    for value in (60, 120, 180):
        writer = program(WRITER, *SIZE, value, 4 if how is None else 60)
        assert by_ffmpeg().mean() == pytest.approx(value, abs=3)
        ended(writer, how)


@pytest.mark.parametrize("how", [signal.SIGKILL, None], ids=["killed", "ended"])
def test_a_device_that_another_program_wrote_to_is_usable(
    program: Program, how: signal.Signals | None
) -> None:
    for _ in range(2):
        ended(program(PYVIRTUALCAM, path(), *(["on"] if how else [])), how)
        with publishing(camera(), bars()):
            assert_bars(by_ffmpeg())


@contextmanager
def reading(file: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Read from the device into `file` until the block ends."""
    arguments = ["--stream-mmap", "--stream-count=100000", f"--stream-to={file}"]
    reader = subprocess.Popen(
        ["v4l2-ctl", "-d", str(path()), *arguments], stderr=subprocess.DEVNULL
    )
    try:
        grows(file)
        yield reader
    finally:
        reader.kill()
        reader.wait()


def grows(file: Path, seconds: float = 10) -> None:
    """Wait until `file` grows."""
    before = file.stat().st_size if file.exists() else 0
    wait_for(lambda: file.exists() and file.stat().st_size > before, seconds)


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
@pytest.mark.parametrize("script", [WRITER, PYVIRTUALCAM], ids=["ours", "another"])
def test_a_reader_that_stays_sees_the_next_writer(
    program: Program, script: str, how: signal.Signals, tmp_path: Path
) -> None:
    file = tmp_path / "frames"
    arguments = (*SIZE, 60, 60) if script is WRITER else (path(), "on")
    # The format must be the same: pyvirtualcam turns RGB into I420.
    following = camera("yuyv" if script is WRITER else "i420")
    first = program(script, *arguments)
    with reading(file) as reader:
        ended(first, how)
        time.sleep(0.3)
        with publishing(following, bars()):
            grows(file)
            grows(file)
        assert reader.poll() is None


def test_a_format_that_a_reader_holds_is_reported_with_the_remedy(
    program: Program, tmp_path: Path
) -> None:
    first = program(WRITER, *SIZE, 60, 60)
    with reading(tmp_path / "frames") as reader:
        ended(first, signal.SIGKILL)
        time.sleep(0.3)
        with pytest.raises(DeviceError) as refusal, camera(size=(1280, 720)) as sink:
            sink.send(Frame(bars(1280, 720), 0, 0.0))
        message = str(refusal.value)
        assert (
            f"is held at YUYV 640x480 by a program that has it open (v4l2-ctl ({reader.pid})"
            in message
        )
        assert "close it, or set canvas=640x480 and pixel_format=yuyv" in message
    with publishing(camera(size=(1280, 720)), bars(1280, 720)):
        assert v4l2.attribute(path(), "format") == "YUYV:1280x720@30"


def test_a_refused_sink_leaves_nothing_open(program: Program) -> None:
    program(WRITER, *SIZE, 60, 60)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(DeviceError), camera():
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_missing_permission_is_reported_with_the_group() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody without the permission")
    script = """
import os
from streamcam.errors import DeviceError
from streamcam.sinks.virtual_camera import VirtualCamera
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    VirtualCamera(None, (640, 480), 30.0, "yuyv").__enter__()
except DeviceError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"no permission for {path()}: sudo usermod -aG video $USER" in done.stdout


DEFAULT = "devices=1 video_nr=10 card_label=streamcam exclusive_caps=1"


@pytest.fixture
def loaded() -> Iterator[Callable[[str], None]]:
    """Return a function that reloads v4l2loopback with other options, until the test ends."""
    if os.geteuid() != 0:
        pytest.skip("only root may load modules")

    def load(options: str) -> None:
        subprocess.run(["modprobe", "-r", "v4l2loopback"], check=True)
        subprocess.run(["modprobe", "v4l2loopback", *options.split()], check=True)
        subprocess.run(["udevadm", "settle"], check=True)

    yield load
    load(DEFAULT)


def test_without_the_module_the_command_that_loads_it_is_given() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may load modules")
    subprocess.run(["modprobe", "-r", "v4l2loopback"], check=True)
    try:
        with (
            pytest.raises(DeviceError, match="sudo modprobe v4l2loopback devices=1 video_nr=10"),
            camera(),
        ):
            pass
    finally:
        subprocess.run(["modprobe", "v4l2loopback", *DEFAULT.split()], check=True)
        subprocess.run(["udevadm", "settle"], check=True)


def test_the_device_of_obs_is_left_alone(loaded: Callable[[str], None]) -> None:
    loaded("devices=2 video_nr=8,10 card_label=OBS-Virtual-Camera,streamcam exclusive_caps=1,1")
    assert path() == Path("/dev/video10")
    with publishing(camera(), bars()):
        assert_bars(by_ffmpeg())


def test_two_virtual_cameras_at_once_each_show_their_own(loaded: Callable[[str], None]) -> None:
    loaded("devices=2 video_nr=8,10 card_label=left,right exclusive_caps=1,1")
    for label, value in (("left", 50), ("right", 150)):
        with (
            publishing(VirtualCamera("left", SIZE, 30.0, "yuyv"), np.full_like(bars(), 50)),
            publishing(VirtualCamera("right", SIZE, 30.0, "yuyv"), np.full_like(bars(), 150)),
        ):
            assert by_ffmpeg(label=label).mean() == pytest.approx(value, abs=3)


def test_a_second_writer_is_noticed_without_exclusive_caps_too(
    loaded: Callable[[str], None], program: Program
) -> None:
    loaded("devices=1 video_nr=10 card_label=streamcam exclusive_caps=0")
    if v4l2.attribute(path(), "state") is None:
        pytest.skip("v4l2loopback before 0.13 lets two programs write")
    writer = program(WRITER, *SIZE, 100, 60)
    with pytest.raises(DeviceError) as refusal, camera() as sink:
        sink.send(Frame(bars(), 0, 0.0))
    assert f"({writer.pid})" in str(refusal.value)
