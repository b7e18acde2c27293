"""Cameras of kernel drivers: the webcam of vivid, and a USB webcam where one is emulated.

Needs root and v4l2-utils; pulls cameras out and plugs them in again.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from pathlib import Path
from threading import Timer

import pytest
from click.testing import CliRunner

from streamcam import v4l2
from streamcam.cli.devices import devices
from streamcam.errors import DeviceError
from streamcam.sources.camera import Camera
from streamcam.sources.camera_list import first
from streamcam.types import Frame

NOTICE_S = 2.0
USB_PID = Path("/run/usb-camera.pid")


def node(driver: str) -> str:
    found = [d for d in v4l2.devices() if d.driver == driver and d.captures]
    if not found:
        pytest.skip(f"no camera of {driver}")
    return str(found[0].path)


def control(path: str, *assignments: str) -> None:
    words = [word for assignment in assignments for word in ("-c", assignment)]
    subprocess.run(["v4l2-ctl", "-d", path, *words], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def vivid() -> Iterator[str]:
    path = node("vivid")
    subprocess.run(["v4l2-ctl", "-d", path, "-i", "0"], check=True, stdout=subprocess.DEVNULL)
    yield path
    control(path, "osd_text_mode=0", "test_pattern=0")


@pytest.fixture
def usb() -> str:
    if not USB_PID.exists():
        pytest.skip("no emulated USB camera")
    within(20, lambda: any(d.driver == "uvcvideo" and d.captures for d in v4l2.devices()))
    return node("uvcvideo")


def signal_usb(number: signal.Signals) -> None:
    os.kill(int(USB_PID.read_text()), number)


def within(seconds: float, holds: Callable[[], bool]) -> None:
    """Wait until `holds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def lost_after(frames: Iterator[Frame], cause: Callable[[], None]) -> tuple[float, str]:
    """Return the seconds from `cause` to the loss of the camera, and the error."""
    next(frames)
    caused: list[float] = []

    def apply_cause() -> None:
        caused.append(time.monotonic())
        cause()

    # From another thread, since a frozen camera blocks whoever reads it.
    Timer(0.5, apply_cause).start()
    deadline = time.monotonic() + 20
    with pytest.raises(DeviceError) as error:
        deque(takewhile(lambda _: time.monotonic() < deadline, frames), maxlen=0)
    return time.monotonic() - caused[0], str(error.value)


def reopened(camera: Camera, seconds: float = 20) -> list[Frame]:
    """Enter `camera` again and again, as a broadcast does, until it is back; return five frames."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with camera:
                return list(islice(camera, 5))
        except DeviceError:
            assert time.monotonic() < deadline
            time.sleep(0.3)


@pytest.mark.parametrize(
    ("requested", "fps", "expected", "shape"),
    [
        ((640, 480), 25.0, "640x480 YUYV 25 fps", (480, 640, 3)),
        ((640, 480), 30.0, "640x480 YUYV 25 fps", (480, 640, 3)),
        ((1280, 720), 30.0, "1280x720 YUYV 12.5 fps", (720, 1280, 3)),
        ((600, 500), 15.0, "640x480 YUYV 15 fps", (480, 640, 3)),
    ],
)
def test_a_camera_reports_the_mode_that_it_is_really_in(
    vivid: str, requested: tuple[int, int], fps: float, expected: str, shape: tuple[int, ...]
) -> None:
    with Camera(vivid, requested, fps) as camera:
        frames = list(islice(camera, 20))
        with v4l2.opened(vivid) as fd:
            kernel = v4l2.format_of(fd)
    assert camera.format == expected
    assert (kernel.height, kernel.width, 3) == shape
    assert all(frame.image.shape == shape for frame in frames)
    assert frames[-1].image.flags.c_contiguous
    assert [frame.index for frame in frames] == list(range(20))
    seconds = frames[-1].captured_at - frames[4].captured_at
    # A busy machine gets fewer frames, but never more.
    assert 0.2 < 15 / seconds / float(camera.rate) < 1.35


def test_colours_are_in_the_order_red_green_blue(vivid: str) -> None:
    control(vivid, "osd_text_mode=2")
    with Camera(vivid, (640, 480), 25) as camera:
        row = list(islice(camera, 3))[-1].image[240]
    # 75% bars: white, yellow, cyan, green, magenta, red, blue, black.
    bars = [(row[40 + 80 * i] > 100).astype(int).tolist() for i in range(8)]
    assert bars[1:7] == [[1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1]]


def test_the_first_camera_is_a_physical_one() -> None:
    found = first()
    assert found is not None
    assert not found.virtual
    assert not any(d.is_metadata and str(d.path) == found.address for d in v4l2.devices())


def test_a_pulled_cable_is_noticed_and_the_camera_opened_again(
    vivid: str, capfd: pytest.CaptureFixture[str]
) -> None:
    camera = Camera("vivid", (640, 480), 25)
    with camera:
        seconds, message = lost_after(iter(camera), lambda: control(vivid, "disconnect=1"))
    print(f"disconnect: noticed after {seconds:.2f} s: {message}")
    assert seconds < NOTICE_S
    assert "lost" in message
    assert [frame.index for frame in reopened(camera)] == list(range(5))
    assert capfd.readouterr().err == ""


def test_a_device_that_goes_and_comes_back_is_noticed(vivid: str) -> None:
    camera = Camera(None, (640, 480), 25)
    with camera:
        frames = iter(camera)
        seconds, message = lost_after(frames, lambda: bound("unbind"))
    print(f"unbind: noticed after {seconds:.2f} s: {message}")
    try:
        assert seconds < NOTICE_S
        with pytest.raises(DeviceError, match='camera "vivid" is not plugged in'):
            camera.__enter__()
    finally:
        bound("bind")
    assert len(reopened(camera)) == 5


def bound(how: str) -> None:
    Path("/sys/bus/platform/drivers/vivid", how).write_text("vivid.0")


def test_a_camera_in_use_is_reported_with_its_user(vivid: str) -> None:
    reader = ["v4l2-ctl", "-d", vivid, "--stream-mmap"]
    with subprocess.Popen(
        reader, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as reader_process:
        time.sleep(1)
        with (
            pytest.raises(DeviceError, match=rf"in use by v4l2-ctl \({reader_process.pid}\)"),
            Camera(vivid, (640, 480), 25),
        ):
            pass
        reader_process.terminate()
    assert len(reopened(Camera(vivid, (640, 480), 25))) == 5


@pytest.mark.skipif(os.getuid() != 0, reason="takes another user's place")
def test_a_missing_permission_is_reported_with_the_group_that_has_it(vivid: str) -> None:
    # Modules first: another user may not be allowed to read them.
    script = f"""
import grp, os
from streamcam.sources.camera import Camera
os.setgroups([]); os.setgid(65534); os.setuid(65534)
Camera({vivid!r}, (640, 480), 25).__enter__()
"""
    Path(vivid).chmod(0o660)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f'no permission for camera {vivid} "' in done.stderr
    assert "usermod --append --groups" in done.stderr


def test_a_still_image_is_taken_for_a_frozen_camera_only_once(vivid: str) -> None:
    camera = Camera(vivid, (320, 180), 60)
    with camera:
        frames = iter(camera)
        for _ in islice(frames, 330):
            pass
        # Without the running clock in it the image stands still.
        seconds, message = lost_after(frames, lambda: hide_clock(vivid))
    print(f"still: taken for frozen after {seconds:.2f} s: {message}")
    assert "frozen" in message
    assert seconds < NOTICE_S + 0.5
    with camera:
        until = time.monotonic() + 4
        count = sum(1 for frame in iter(camera) if frame.captured_at < until or camera.stop())
    assert count > 60


def hide_clock(path: str) -> None:
    with v4l2.opened(path) as fd:
        v4l2.set_control(fd, v4l2.controls(fd)["OSD Text Mode"], 2)


def test_our_own_virtual_camera_is_refused() -> None:
    if not any(d.is_loopback and d.name == "streamcam" for d in v4l2.devices()):
        pytest.skip("no virtual camera")
    with pytest.raises(DeviceError, match="own virtual camera"), Camera("streamcam", (1, 1), 30):
        pass


def test_compression_is_requested_where_raw_frames_are_slow(usb: str) -> None:
    with Camera("Test Webcam", (1280, 720), 30) as camera:
        assert camera.format == "1280x720 MJPG 30 fps"
        assert next(iter(camera)).image.shape == (720, 1280, 3)
    with Camera(usb, (640, 480), 30) as camera:
        assert camera.format == "640x480 YUYV 30 fps"


def test_a_usb_camera_pulled_out_is_found_again(usb: str) -> None:
    camera = Camera("Test Webcam", (640, 480), 30)
    with camera:
        seconds, message = lost_after(iter(camera), lambda: signal_usb(signal.SIGUSR1))
    print(f"USB unplugged: noticed after {seconds:.2f} s: {message}")
    assert seconds < NOTICE_S
    within(5, lambda: not any(d.driver == "uvcvideo" for d in v4l2.devices()))
    with pytest.raises(DeviceError, match="is not plugged in"):
        camera.__enter__()
    signal_usb(signal.SIGUSR1)
    assert len(reopened(camera)) == 5


def test_a_usb_camera_that_hangs_is_noticed_and_stops_at_once(usb: str) -> None:
    camera = Camera("Test Webcam", (1280, 720), 30)
    with camera:
        seconds, message = lost_after(iter(camera), lambda: signal_usb(signal.SIGUSR2))
    print(f"USB frozen: noticed after {seconds:.2f} s: {message}")
    assert seconds < NOTICE_S
    with camera:
        Timer(0.5, camera.stop).start()
        began = time.monotonic()
        assert list(camera) == []
        assert time.monotonic() - began < 0.5 + 1.2
    signal_usb(signal.SIGUSR2)
    assert len(reopened(Camera("Test Webcam", (1280, 720), 30))) == 5


def test_devices_lists_cameras_and_virtual_cameras(vivid: str) -> None:
    listed = json.loads(CliRunner().invoke(devices, ["--json"]).output)
    cameras = {camera["address"]: camera for camera in listed["cameras"]}
    formats = cameras[vivid]["formats"]
    assert {"fourcc": "YUYV", "least": [640, 480], "most": [640, 480], "fps": 25.0} in formats
    metadata = {str(d.path) for d in v4l2.devices() if d.is_metadata}
    assert not metadata & cameras.keys()
    labels = [camera["name"] for camera in listed["virtual_cameras"]]
    assert labels == [d.name for d in v4l2.devices() if d.is_loopback]
