import errno
import os
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamcam import v4l2
from streamcam.errors import DeviceError
from streamcam.sinks.v4l2_loopback import LoopbackWriter
from streamcam.sinks.virtual_camera import VirtualCamera, find, open_pyvirtualcam
from streamcam.types import Frame
from streamcam.v4l2 import CAN_CAPTURE, CAN_OUTPUT, Device, Format, kernel_module

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="v4l2loopback is Linux's")


def device(name: str, number: int, *, driver: str = "v4l2 loopback", problem: str = "") -> Device:
    path = Path(f"/dev/video{number}")
    return Device(path, name, driver, "", CAN_OUTPUT, problem=problem or None)


OBS = device("OBS Virtual Camera", 9)
OURS = device("streamcam", 10)
STUDIO = device("Studio A", 11)
WEBCAM = device("streamcam webcam", 0, driver="uvcvideo")

SetDevices = Callable[..., None]


@pytest.fixture
def set_devices(monkeypatch: pytest.MonkeyPatch) -> SetDevices:
    """Return a function that sets the video devices of the machine."""

    def set_to(*devices: Device) -> None:
        monkeypatch.setattr(v4l2, "devices", lambda: devices)

    return set_to


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (None, OURS),
        ("streamcam", OURS),
        ("STREAMCAM", OURS),
        ("studio", STUDIO),
        ("Studio A", STUDIO),
        ("obs", OBS),
    ],
)
def test_a_device_is_found_by_its_whole_label_or_a_part(
    set_devices: SetDevices, label: str | None, expected: Device
) -> None:
    set_devices(WEBCAM, OBS, OURS, STUDIO)
    assert find(label) is expected


def test_a_whole_label_wins_over_a_part(set_devices: SetDevices) -> None:
    longer = device("streamcam two", 9)
    set_devices(longer, OURS)
    assert find("streamcam") is OURS


def test_without_a_device_of_ours_the_first_that_is_not_obs_is_chosen(
    set_devices: SetDevices,
) -> None:
    set_devices(OBS, STUDIO, device("Dummy", 12))
    assert find(None) is STUDIO


def test_a_device_that_can_be_opened_wins_over_one_that_cannot(set_devices: SetDevices) -> None:
    permitted = device("Dummy", 12)
    set_devices(device("Studio A", 11, problem="Permission denied"), permitted)
    assert find(None) is permitted


def test_the_device_of_obs_is_chosen_only_by_name(set_devices: SetDevices) -> None:
    set_devices(OBS)
    with pytest.raises(DeviceError, match=r"the only virtual camera is OBS's own, /dev/video9"):
        find(None)
    assert find("OBS Virtual Camera") is OBS


def test_an_unknown_label_is_refused_with_those_present(set_devices: SetDevices) -> None:
    set_devices(WEBCAM, OURS, STUDIO)
    message = 'no virtual camera "webcam"; found: /dev/video10 "streamcam", /dev/video11 "Studio A"'
    with pytest.raises(DeviceError) as refusal:
        find("webcam")
    assert str(refusal.value) == message


def test_a_part_that_matches_several_labels_is_refused(set_devices: SetDevices) -> None:
    set_devices(STUDIO, device("Studio B", 12))
    with pytest.raises(DeviceError, match=r'several virtual cameras "studio".*give the path'):
        find("studio")


def test_without_a_loopback_device_the_command_that_makes_one_is_given(
    set_devices: SetDevices,
) -> None:
    set_devices(WEBCAM)
    with pytest.raises(DeviceError, match="v4l2loopback is not loaded") as refusal:
        find(None)
    assert str(refusal.value).count(kernel_module.MODPROBE) == 1


@linux_only
def test_a_path_without_a_device_is_refused(set_devices: SetDevices, tmp_path: Path) -> None:
    set_devices(OURS)
    with pytest.raises(DeviceError, match="no device /dev/video99; list the devices"):
        find("/dev/video99")
    with pytest.raises(DeviceError, match="/dev/null: "):
        find("/dev/null")


class FakeDriver:
    """Fake of v4l2loopback that accepts any file as the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.capabilities = CAN_OUTPUT
        self.format: Format | None = None
        self.error_number: int | None = None
        self.calls: list[object] = []
        self.state: str | None = "output"
        for name in ("query", "set_format", "format_of", "set_rate", "start", "attribute"):
            monkeypatch.setattr(v4l2, name, getattr(self, f"_{name}"))

    def _query(self, _fd: int) -> tuple[str, str, str, str, int]:
        return "streamcam", "v4l2 loopback", "", "", self.capabilities

    def _set_format(self, _fd: int, fourcc: str, width: int, height: int, _stream: int) -> None:
        if self.error_number:
            raise OSError(self.error_number, os.strerror(self.error_number))
        self.calls.append((fourcc, width, height))
        self.format = self.format or Format(fourcc, width, height, 1, 0, 0)

    def _format_of(self, _fd: int, _stream: int) -> Format:
        assert self.format is not None
        return self.format

    def _set_rate(self, _fd: int, rate: Fraction, _stream: int) -> None:
        self.calls.append(rate)

    def _start(self, _fd: int, _stream: int) -> None:
        self.calls.append("started")
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def _attribute(self, _path: Path, name: str) -> str | None:
        return self.state if name == "state" else None


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    return FakeDriver(monkeypatch)


def opened(path: Path, pixel_format: str = "yuyv", fps: float = 30) -> LoopbackWriter:
    return LoopbackWriter(path, (640, 480), fps=fps, pixel_format=pixel_format)


def frame(width: int = 640, height: int = 480) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.zeros((height, width, 2), np.uint8)


@linux_only
def test_the_format_and_the_rate_are_set(driver: FakeDriver, tmp_path: Path) -> None:
    (tmp_path / "device").touch()
    opened(tmp_path / "device", "nv12", 29.97).close()
    assert driver.calls == [("NV12", 640, 480), Fraction(2997, 100)]


@linux_only
def test_before_0_13_the_stream_is_turned_on_so_that_the_device_outlives_the_writer(
    driver: FakeDriver, tmp_path: Path
) -> None:
    driver.state = None
    (tmp_path / "device").touch()
    opened(tmp_path / "device").close()
    assert driver.calls[-1] == "started"


@linux_only
def test_a_format_that_the_driver_does_not_support_is_refused(
    driver: FakeDriver, tmp_path: Path
) -> None:
    driver.format = Format("YUYV", 640, 480, 1, 0, 0)
    (tmp_path / "device").touch()
    with pytest.raises(DeviceError, match="does not support NV12, it chose YUYV; choose another"):
        opened(tmp_path / "device", "nv12")


@linux_only
@pytest.mark.parametrize("refuses", [None, errno.EBUSY])
def test_a_format_held_by_a_reader_is_refused_with_the_settings_that_match(
    driver: FakeDriver, tmp_path: Path, refuses: int | None
) -> None:
    driver.format, driver.error_number = Format("YU12", 1280, 720, 1, 0, 0), refuses
    (tmp_path / "device").touch()
    message = "is held at YU12 1280x720 .*close it, or set canvas=1280x720 and pixel_format=i420"
    with pytest.raises(DeviceError, match=message):
        opened(tmp_path / "device")


@linux_only
def test_a_device_with_another_writer_is_busy(driver: FakeDriver, tmp_path: Path) -> None:
    driver.capabilities, driver.state = CAN_CAPTURE, "capture"
    (tmp_path / "device").touch()
    with pytest.raises(DeviceError, match="is in use: another program writes to it"):
        opened(tmp_path / "device")


@linux_only
def test_a_write_that_fails_is_an_error(driver: FakeDriver) -> None:
    loopback = opened(Path("/dev/full"))
    with pytest.raises(DeviceError, match="/dev/full accepts no frames any more: No space left"):
        loopback.send(frame())
    loopback.close()


@linux_only
def test_a_partial_write_is_an_error(driver: FakeDriver, tmp_path: Path) -> None:
    # A pipe takes 64 kB; a loopback device whose format was changed takes one frame of that format.
    os.mkfifo(tmp_path / "device")
    loopback = opened(tmp_path / "device")
    with pytest.raises(DeviceError, match="took 65536 of 614400 bytes: its format was changed"):
        loopback.send(frame())
    loopback.close()


@linux_only
def test_a_refused_device_leaves_no_file_open(driver: FakeDriver, tmp_path: Path) -> None:
    (tmp_path / "device").touch()
    driver.error_number = errno.EIO
    before = list(Path("/proc/self/fd").iterdir())
    with pytest.raises(DeviceError, match="Input/output error"):
        opened(tmp_path / "device")
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


class ObsBackend:
    """Fake of a pyvirtualcam backend for macOS and Windows."""

    opened: list["ObsBackend"]

    def __init__(self, *, width: int, height: int, device: str | None, **_: object) -> None:
        if device == "none such":
            raise RuntimeError("virtual camera output could not be started")
        self.size, self.sent = (width, height), 0
        self.open = True
        ObsBackend.opened.append(self)

    def send(self, frame: object) -> None:
        self.sent += np.size(frame)  # type: ignore[arg-type]

    def close(self) -> None:
        self.open = False

    def device(self) -> str:
        return "OBS Virtual Camera"

    def native_fourcc(self) -> None:
        return None


@pytest.fixture
def obs(monkeypatch: pytest.MonkeyPatch) -> list[ObsBackend]:
    """Replace pyvirtualcam's backends for Linux by a fake of the one for OBS."""
    from pyvirtualcam import camera

    ObsBackend.opened = []
    monkeypatch.setattr(camera, "BACKENDS", {"obs": ObsBackend})
    monkeypatch.setattr(sys, "platform", "darwin")
    return ObsBackend.opened


def test_on_macos_frames_go_to_pyvirtualcam_as_rgb(obs: list[ObsBackend]) -> None:
    sink = VirtualCamera(None, (64, 48), 30.0, "yuyv")
    for _ in range(2):
        with sink:
            sink.send(Frame(np.zeros((48, 64, 3), np.uint8), 0, 0.0))
    assert [(camera.size, camera.sent, camera.open) for camera in obs] == [
        ((64, 48), 64 * 48 * 3, False)
    ] * 2


def test_on_macos_a_missing_camera_is_reported_with_the_remedy(obs: list[ObsBackend]) -> None:
    with pytest.raises(DeviceError, match="could not be started; install OBS 30 or later"):
        open_pyvirtualcam("none such", (64, 48), 30.0)


@linux_only
def test_on_linux_pyvirtualcam_is_not_imported() -> None:
    from tests.support.media import run_script

    script = """
        from streamcam.errors import DeviceError
        from streamcam.sinks.virtual_camera import VirtualCamera
        try:
            VirtualCamera("none such", (64, 48), 30.0, "yuyv").__enter__()
        except DeviceError as error:
            print("pyvirtualcam" in sys.modules)
    """
    assert run_script(script, "") == "False\n"


@linux_only
@pytest.mark.parametrize("capabilities", [CAN_OUTPUT, CAN_OUTPUT | CAN_CAPTURE])
def test_a_device_that_browsers_do_not_list_is_said_once_with_the_remedy(
    driver: FakeDriver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capabilities: int,
) -> None:
    path = tmp_path / "video77"
    path.touch()
    driver.capabilities = capabilities
    loopback = Device(path, "streamcam", "v4l2 loopback", "", capabilities)
    monkeypatch.setattr(v4l2, "devices", lambda: (loopback,))
    sink = VirtualCamera(None, (640, 480), 30, "yuyv")
    for _ in range(2):
        with sink:
            pass
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    if capabilities & CAN_CAPTURE:
        (line,) = lines
        assert "has exclusive_caps=0: Chrome, Zoom and others do not list it" in line
        assert line.endswith(kernel_module.RELOAD)
    else:
        assert lines == []
