import pytest

from streamcam.errors import DeviceError
from streamcam.sources.camera_list import CameraInfo, choose

LOOPBACK = CameraInfo("streamcam", "/dev/video10", "/dev/video10", virtual=True)
OBS = CameraInfo("OBS Virtual Camera", "/dev/video3", "/dev/video3", virtual=True)
WEBCAM = CameraInfo("HD Pro Webcam C920", "/dev/video0", "/dev/video0", "/dev/v4l/by-id/usb-c920")
CAPTURE_CARD = CameraInfo("USB3 Capture", "/dev/video4", "/dev/video4", "/dev/v4l/by-id/usb-card")
ALL = [OBS, WEBCAM, CAPTURE_CARD, LOOPBACK]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, WEBCAM),
        ("c920", WEBCAM),
        ("capture", CAPTURE_CARD),
        ("4", CAPTURE_CARD),
        ("/dev/video4", CAPTURE_CARD),
        ("/dev/v4l/by-id/usb-card", CAPTURE_CARD),
        ("obs", OBS),
    ],
)
def test_a_camera_is_found_by_name_path_or_number(name: str | None, expected: CameraInfo) -> None:
    assert choose(name, ALL) is expected


def test_a_whole_name_wins_over_a_part_and_a_physical_camera_over_a_virtual_one() -> None:
    cam, camera = CameraInfo("Cam", "/dev/video7", 7), CameraInfo("Camera", "/dev/video6", 6)
    assert choose("cam", [camera, cam]) is cam
    virtual = CameraInfo("My Camera", "/dev/video5", 5, virtual=True)
    assert (
        choose("camera", [virtual, CameraInfo("Webcamera", "/dev/video9", 9)]).address
        == "/dev/video9"
    )


def test_a_missing_camera_is_reported_with_those_that_are_present() -> None:
    with pytest.raises(DeviceError) as caught:
        choose("C930", [WEBCAM, LOOPBACK])
    assert str(caught.value) == 'no camera "C930"; found: /dev/video0 "HD Pro Webcam C920"'


def test_without_a_physical_camera_the_demo_is_offered() -> None:
    with pytest.raises(DeviceError, match=r"no camera; none is plugged in.*--source demo"):
        choose(None, [LOOPBACK, OBS])


@pytest.mark.parametrize("name", ["streamcam", "/dev/video10", "10"])
def test_our_own_virtual_camera_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="own virtual camera"):
        choose(name, ALL)


def test_a_virtual_camera_with_another_label_is_ours_when_we_write_to_it() -> None:
    assert choose("obs", ALL) is OBS
    for label in ("obs virtual camera", "obs", "/dev/video3"):
        with pytest.raises(DeviceError, match="own virtual camera"):
            choose("obs", ALL, own={label})
