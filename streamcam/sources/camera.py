"""A camera, through OpenCV: its frames as they come, and notice within two seconds of its loss."""

import errno
import logging
import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event, Lock
from typing import Self

import cv2

from streamcam import v4l2
from streamcam.errors import DeviceError
from streamcam.sources.camera_list import OWN_LABELS, CameraInfo, backend, cameras, choose
from streamcam.sources.camera_modes import CameraMode, nearest_mode
from streamcam.sources.freeze_detector import FreezeDetector
from streamcam.types import Frame

log = logging.getLogger(__name__)

GONE = {os.strerror(number) for number in (errno.ENOENT, errno.ENODEV, errno.ENXIO)}
"""What is wrong with a node whose device is just going or coming."""
TIMEOUT_S = 1
"""OpenCV waits so long for a picture; its own default is ten seconds."""
FIRST_FRAME_S = 10.0
"""A webcam may take some seconds until its first picture."""
START_S = 2.0
"""And on some systems refuse to give one until it is ready."""
SILENCE_S = 0.9
"""Without a picture for so long a running camera is lost. Less than OpenCV's timeout."""


class Camera:
    """The frames of one camera, RGB, stamped with the monotonic clock when they arrive.

    May be entered again after it was lost, and then finds the same camera, whatever its number is
    by then.

    Args:
        name: a path, a number or a part of the camera's name; None is the first physical one.
        size: (width, height) to ask for; the camera may give another.
        fps: frames per second to ask for.
        own: labels of our own virtual cameras, which are refused.
    """

    length: int | None = None

    def __init__(
        self,
        name: str | None,
        size: tuple[int, int],
        fps: float,
        own: Collection[str] = OWN_LABELS,
    ) -> None:
        self.rate = Fraction(fps).limit_denominator(1001)
        self.format = ""
        """What the camera gives, once entered: ``1280x720 MJPG 30 fps``."""
        self._name = name
        self._size = size
        self._fps = fps
        self._own = own
        self._found: CameraInfo | None = None
        self._node = 0
        self._stillness = FreezeDetector()
        self._stopped = Event()
        # OpenCV crashes if a camera is released while it is read.
        self._reading = Lock()

    @property
    def label(self) -> str:
        """What to call it: its address and name, once it was found."""
        return str(self._found) if self._found else f'"{self._name or "camera"}"'

    def __enter__(self) -> Self:
        """Open the camera and set it up.

        Raises:
            DeviceError: there is none, it is ours, busy, or not permitted.
        """
        self._found = self._again() if self._found else self._first()
        self._capture = _open(self._found, self._size, self._fps)
        self.format, self.rate = _described(self._capture, self.rate)
        self._node = _identity(self._found)
        self._stillness.reopened()
        log.info("camera %s, %s", self.label, self.format)
        return self

    def __exit__(self, *exception: object) -> None:
        with self._reading:
            self._capture.release()

    def stop(self) -> None:
        """Make the iterator end, for good, within about a second; from any thread."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Frame]:
        index, good = 0, time.monotonic()
        while not self._stopped.is_set():
            began = time.monotonic()
            with self._reading:
                grabbed = self._capture.grab()
                arrived = time.monotonic()
                decoded, image = self._capture.retrieve() if grabbed else (False, None)
            if decoded and image is not None:
                frame = Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), index, arrived)  # type: ignore[arg-type]
                index, good = index + 1, arrived
                self._watch(frame)
                yield frame
            elif not self._stopped.is_set():
                refused = not grabbed and arrived - began < TIMEOUT_S / 2
                self._judge(index, arrived - good, refused=refused)

    def _first(self) -> CameraInfo:
        found = cameras()
        return _permitted(choose(self._name, found, self._own))

    def _again(self) -> CameraInfo:
        """Return the camera of the last time, where it is now."""
        last = self._found
        assert last is not None
        found = [camera for camera in cameras() if camera.problem not in GONE]
        if last.stable_path:
            same = [camera for camera in found if camera.stable_path == last.stable_path]
        else:
            same = [camera for camera in found if camera.name == last.name]
        if not same:
            raise DeviceError(f'camera "{last.name}" is not plugged in')
        return _permitted(next((c for c in same if c.address == last.address), same[0]))

    def _judge(self, index: int, silence: float, *, refused: bool) -> None:
        """Raise when no picture for `silence` seconds means that the camera is lost.

        A picture damaged on the wire is passed over. A call that is refused at once, and not after
        some waiting, says that the device is gone.
        """
        self._check_node()
        if index == 0:
            patience = START_S if refused else FIRST_FRAME_S
        else:
            patience = 0 if refused else max(SILENCE_S, 2.5 / float(self.rate))
        if silence >= patience:
            how = "it does not answer" if refused else f"no picture for {silence:.1f} s"
            raise DeviceError(f"camera {self.label} lost: {how}")
        if refused:
            self._stopped.wait(0.02)

    def _watch(self, frame: Frame) -> None:
        """Raise when the pictures come, but from nowhere."""
        if frame.index % 15 == 0:
            self._check_node()
        if self._stillness.frozen(frame):
            raise DeviceError(f"camera {self.label} lost: its picture is frozen")

    def _check_node(self) -> None:
        assert self._found is not None
        if _identity(self._found) != self._node:
            raise DeviceError(f"camera {self.label} lost: it was unplugged")


def _identity(found: CameraInfo) -> int:
    """Return the device number behind the node; 0 where there is none."""
    if isinstance(found.target, str):
        with suppress(OSError):
            return Path(found.target).stat().st_rdev
    return 0


def _permitted(found: CameraInfo) -> CameraInfo:
    """Return `found` where it can be opened.

    Raises:
        DeviceError: no permission, or nothing behind the node.
    """
    if found.problem == os.strerror(errno.EACCES):
        raise DeviceError(f"no permission for camera {found}; {_membership(Path(found.address))}")
    if found.problem:
        raise DeviceError(f"cannot open camera {found}: {found.problem}")
    return found


def _membership(path: Path) -> str:
    group = "video"
    with suppress(OSError, KeyError):
        group = path.group()
    return f"sudo usermod --append --groups {group} $USER, then log in again"


def _open(found: CameraInfo, size: tuple[int, int], fps: float) -> cv2.VideoCapture:
    # OpenCV reads it whenever a camera is opened.
    os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(TIMEOUT_S)
    # Otherwise some cameras take half a minute to open on Windows.
    os.environ["OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS"] = "0"
    # Its own log would go to the terminal; OpenCV 4 and 5 keep the switch in different places.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)
    asked = _asked(found, size, fps)
    capture = cv2.VideoCapture(found.target, backend())
    if not capture.isOpened():
        capture.release()
        raise DeviceError(_closed(found))
    if asked.fourcc:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*asked.fourcc.ljust(4)))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, asked.width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, asked.height)
    capture.set(cv2.CAP_PROP_FPS, asked.fps)
    return capture


def _asked(found: CameraInfo, size: tuple[int, int], fps: float) -> CameraMode:
    if sys.platform != "linux":
        large = size[0] * size[1] > 640 * 480
        return CameraMode("MJPG" if large else "", *size, fps)
    try:
        with v4l2.opened(str(found.target)) as fd:
            modes = [
                replace(mode, rates=v4l2.rates(fd, mode.fourcc, *size))
                if mode.fits(*size)
                else mode
                for mode in v4l2.modes(fd)
            ]
    except OSError as error:
        raise DeviceError(f"cannot open camera {found}: {error.strerror}") from None
    return nearest_mode(modes, size, fps)


def _closed(found: CameraInfo) -> str:
    """Return why OpenCV could not open what is there and permitted."""
    others = [who for who in v4l2.holders(found.address) if f"({os.getpid()})" not in who]
    if others:
        return f"camera {found} is in use by {', '.join(others)}; close it there"
    return f"cannot open camera {found}; is another program using it?"


def _described(capture: cv2.VideoCapture, asked: Fraction) -> tuple[str, Fraction]:
    """Return what the camera says that it gives."""
    width, height = (round(capture.get(side)) for side in (3, 4))
    number = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0x7FFFFFFF
    fourcc = number.to_bytes(4, "little").decode("latin-1").strip("\0 ")
    said = capture.get(cv2.CAP_PROP_FPS)
    rate = Fraction(said).limit_denominator(1001) if 0 < said <= 1000 else asked
    return f"{width}x{height} {fourcc or '?'} {float(rate):.4g} fps", rate
