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
from streamcam.sinks.loopback import LoopbackWriter
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

Found = Callable[..., None]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    """Return what sets the video devices that there are."""

    def there_are(*devices: Device) -> None:
        monkeypatch.setattr(v4l2, "devices", lambda: devices)

    return there_are


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
    found: Found, label: str | None, expected: Device
) -> None:
    found(WEBCAM, OBS, OURS, STUDIO)
    assert find(label) is expected


def test_a_whole_label_goes_before_a_part(found: Found) -> None:
    longer = device("streamcam two", 9)
    found(longer, OURS)
    assert find("streamcam") is OURS


def test_without_one_of_ours_the_first_that_is_not_obs_is_taken(found: Found) -> None:
    found(OBS, STUDIO, device("Dummy", 12))
    assert find(None) is STUDIO


def test_one_that_may_be_opened_goes_before_one_that_may_not(found: Found) -> None:
    open_to_us = device("Dummy", 12)
    found(device("Studio A", 11, problem="Permission denied"), open_to_us)
    assert find(None) is open_to_us


def test_obs_own_device_is_never_taken_unasked(found: Found) -> None:
    found(OBS)
    with pytest.raises(DeviceError, match=r"the only virtual camera is OBS's own, /dev/video9"):
        find(None)
    assert find("OBS Virtual Camera") is OBS


def test_an_unknown_label_is_answered_with_those_there_are(found: Found) -> None:
    found(WEBCAM, OURS, STUDIO)
    told = 'no virtual camera "webcam"; found: /dev/video10 "streamcam", /dev/video11 "Studio A"'
    with pytest.raises(DeviceError) as refusal:
        find("webcam")
    assert str(refusal.value) == told


def test_a_part_that_fits_several_is_refused(found: Found) -> None:
    found(STUDIO, device("Studio B", 12))
    with pytest.raises(DeviceError, match=r'several virtual cameras "studio".*give the path'):
        find("studio")


def test_no_loopback_at_all_is_answered_with_the_line_that_makes_one(found: Found) -> None:
    found(WEBCAM)
    with pytest.raises(DeviceError, match="v4l2loopback is not loaded") as refusal:
        find(None)
    assert str(refusal.value).count(kernel_module.MODPROBE) == 1


@linux_only
def test_a_path_that_is_no_device_is_refused(found: Found, tmp_path: Path) -> None:
    found(OURS)
    with pytest.raises(DeviceError, match="no device /dev/video99; list what there is"):
        find("/dev/video99")
    with pytest.raises(DeviceError, match="/dev/null: "):
        find("/dev/null")


class Driver:
    """Answers as v4l2loopback does, for any file in place of a device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.capabilities = CAN_OUTPUT
        self.gives: Format | None = None
        self.refuses: int | None = None
        self.set: list[object] = []
        self.state: str | None = "output"
        for name in ("query", "set_format", "format_of", "set_rate", "start", "attribute"):
            monkeypatch.setattr(v4l2, name, getattr(self, f"_{name}"))

    def _query(self, _fd: int) -> tuple[str, str, str, str, int]:
        return "streamcam", "v4l2 loopback", "", "", self.capabilities

    def _set_format(self, _fd: int, fourcc: str, width: int, height: int, _stream: int) -> None:
        if self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))
        self.set.append((fourcc, width, height))
        self.gives = self.gives or Format(fourcc, width, height, 1, 0, 0)

    def _format_of(self, _fd: int, _stream: int) -> Format:
        assert self.gives is not None
        return self.gives

    def _set_rate(self, _fd: int, rate: Fraction, _stream: int) -> None:
        self.set.append(rate)

    def _start(self, _fd: int, _stream: int) -> None:
        self.set.append("started")
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def _attribute(self, _path: Path, name: str) -> str | None:
        return self.state if name == "state" else None


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def opened(path: Path, pixel_format: str = "yuyv", fps: float = 30) -> LoopbackWriter:
    return LoopbackWriter(path, (640, 480), fps=fps, pixel_format=pixel_format)


def picture(width: int = 640, height: int = 480) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.zeros((height, width, 2), np.uint8)


@linux_only
def test_the_format_and_the_rate_are_set(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "device").touch()
    opened(tmp_path / "device", "nv12", 29.97).close()
    assert driver.set == [("NV12", 640, 480), Fraction(2997, 100)]


@linux_only
def test_before_0_13_the_stream_is_turned_on_so_that_the_device_outlives_the_writer(
    driver: Driver, tmp_path: Path
) -> None:
    driver.state = None
    (tmp_path / "device").touch()
    opened(tmp_path / "device").close()
    assert driver.set[-1] == "started"


@linux_only
def test_a_format_that_the_driver_does_not_know_is_refused(driver: Driver, tmp_path: Path) -> None:
    driver.gives = Format("YUYV", 640, 480, 1, 0, 0)
    (tmp_path / "device").touch()
    with pytest.raises(DeviceError, match="does not know NV12, it gave YUYV; choose another"):
        opened(tmp_path / "device", "nv12")


@linux_only
@pytest.mark.parametrize("refuses", [None, errno.EBUSY])
def test_a_format_that_is_held_is_told_with_the_settings_that_match(
    driver: Driver, tmp_path: Path, refuses: int | None
) -> None:
    driver.gives, driver.refuses = Format("YU12", 1280, 720, 1, 0, 0), refuses
    (tmp_path / "device").touch()
    told = "is held at YU12 1280x720 .*close it, or set canvas=1280x720 and pixel_format=i420"
    with pytest.raises(DeviceError, match=told):
        opened(tmp_path / "device")


@linux_only
def test_a_device_with_another_writer_is_busy(driver: Driver, tmp_path: Path) -> None:
    driver.capabilities, driver.state = CAN_CAPTURE, "capture"
    (tmp_path / "device").touch()
    with pytest.raises(DeviceError, match="is in use: another program writes to it"):
        opened(tmp_path / "device")


@linux_only
def test_a_write_that_fails_is_an_error(driver: Driver) -> None:
    loopback = opened(Path("/dev/full"))
    with pytest.raises(DeviceError, match="/dev/full takes no pictures any more: No space left"):
        loopback.send(picture())
    loopback.close()


@linux_only
def test_a_picture_taken_in_part_is_an_error(driver: Driver, tmp_path: Path) -> None:
    # A pipe takes 64 kB, a loopback device whose format was changed takes what that one needs.
    os.mkfifo(tmp_path / "device")
    loopback = opened(tmp_path / "device")
    with pytest.raises(DeviceError, match="took 65536 of 614400 bytes: its format was changed"):
        loopback.send(picture())
    loopback.close()


@linux_only
def test_what_cannot_be_opened_leaves_no_file_open(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "device").touch()
    driver.refuses = errno.EIO
    before = list(Path("/proc/self/fd").iterdir())
    with pytest.raises(DeviceError, match="Input/output error"):
        opened(tmp_path / "device")
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


class Obs:
    """A backend as pyvirtualcam has them for macOS and Windows."""

    opened: list["Obs"]

    def __init__(self, *, width: int, height: int, device: str | None, **_: object) -> None:
        if device == "none such":
            raise RuntimeError("virtual camera output could not be started")
        self.size, self.sent = (width, height), 0
        self.open = True
        Obs.opened.append(self)

    def send(self, frame: object) -> None:
        self.sent += np.size(frame)  # type: ignore[arg-type]

    def close(self) -> None:
        self.open = False

    def device(self) -> str:
        return "OBS Virtual Camera"

    def native_fourcc(self) -> None:
        return None


@pytest.fixture
def obs(monkeypatch: pytest.MonkeyPatch) -> list[Obs]:
    """Take Linux's backend out of pyvirtualcam, and put OBS's in."""
    from pyvirtualcam import camera

    Obs.opened = []
    monkeypatch.setattr(camera, "BACKENDS", {"obs": Obs})
    monkeypatch.setattr(sys, "platform", "darwin")
    return Obs.opened


def test_elsewhere_the_picture_goes_to_pyvirtualcam_as_rgb(obs: list[Obs]) -> None:
    sink = VirtualCamera(None, (64, 48), 30.0, "yuyv")
    for _ in range(2):
        with sink:
            sink.send(Frame(np.zeros((48, 64, 3), np.uint8), 0, 0.0))
    assert [(camera.size, camera.sent, camera.open) for camera in obs] == [
        ((64, 48), 64 * 48 * 3, False)
    ] * 2


def test_elsewhere_a_camera_that_is_missing_is_told_with_the_remedy(obs: list[Obs]) -> None:
    with pytest.raises(DeviceError, match="could not be started; install OBS 30 or later"):
        open_pyvirtualcam("none such", (64, 48), 30.0)


@linux_only
def test_on_linux_pyvirtualcam_is_not_imported() -> None:
    from tests.support.media import ran

    script = """
        from streamcam.errors import DeviceError
        from streamcam.sinks.virtual_camera import VirtualCamera
        try:
            VirtualCamera("none such", (64, 48), 30.0, "yuyv").__enter__()
        except DeviceError as error:
            print("pyvirtualcam" in sys.modules)
    """
    assert ran(script, "") == "False\n"
