"""Camera frames through OpenCV, with the loss of the camera noticed within two seconds."""

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

UNPLUGGED = {os.strerror(number) for number in (errno.ENOENT, errno.ENODEV, errno.ENXIO)}
"""Problems of a node whose device is being plugged in or out right now."""
TIMEOUT_S = 1
"""OpenCV's timeout for a frame; its own default is ten seconds."""
FIRST_FRAME_S = 10.0
"""A webcam may take some seconds until its first frame."""
START_S = 2.0
"""Some systems refuse every frame until the camera is ready."""
SILENCE_S = 0.9
"""A running camera without a frame for so long is lost. Less than OpenCV's timeout."""


class Camera:
    """The frames of one camera, RGB, stamped with the monotonic clock when they arrive.

    It may be entered again after it was lost, and then finds the same camera, whatever its number
    is by then.

    Args:
        name: a path, a number or a part of the camera's name; None is the first physical one.
        size: (width, height) to ask for; the camera may give another.
        fps: frames per second to ask for.
        own: labels of the virtual cameras that streamcam writes to, which are refused.
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
        """The mode the camera is in, once entered: ``1280x720 MJPG 30 fps``."""
        self._name = name
        self._size = size
        self._fps = fps
        self._own = own
        self._info: CameraInfo | None = None
        self._device_number = 0
        self._freeze_detector = FreezeDetector()
        self._stopped = Event()
        # OpenCV crashes if a camera is released while it is read.
        self._reading = Lock()

    @property
    def label(self) -> str:
        """The camera's address and name, once it was found; until then the requested name."""
        return str(self._info) if self._info else f'"{self._name or "camera"}"'

    def __enter__(self) -> Self:
        """Open the camera and set its mode.

        Raises:
            DeviceError: there is none, it is one of ours, busy, or not permitted.
        """
        self._info = self._find_again() if self._info else self._find()
        self._capture = _open(self._info, self._size, self._fps)
        self.format, self.rate = _actual_mode(self._capture, self.rate)
        self._device_number = _device_number(self._info)
        self._freeze_detector.restart()
        log.info("camera %s, %s", self.label, self.format)
        return self

    def __exit__(self, *exception: object) -> None:
        with self._reading:
            self._capture.release()

    def stop(self) -> None:
        """End the iteration, for good, within about a second; callable from any thread."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Frame]:
        index, last_arrival = 0, time.monotonic()
        while not self._stopped.is_set():
            began = time.monotonic()
            with self._reading:
                grabbed = self._capture.grab()
                arrived = time.monotonic()
                decoded, image = self._capture.retrieve() if grabbed else (False, None)
            if decoded and image is not None:
                frame = Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), index, arrived)  # type: ignore[arg-type]
                index, last_arrival = index + 1, arrived
                self._check_frame(frame)
                yield frame
            elif not self._stopped.is_set():
                refused = not grabbed and arrived - began < TIMEOUT_S / 2
                self._check_silence(index, arrived - last_arrival, refused=refused)

    def _find(self) -> CameraInfo:
        return _permitted(choose(self._name, cameras(), self._own))

    def _find_again(self) -> CameraInfo:
        """Return the camera that was open before, under its present number."""
        last = self._info
        assert last is not None
        present = [camera for camera in cameras() if camera.problem not in UNPLUGGED]
        if last.stable_path:
            same = [camera for camera in present if camera.stable_path == last.stable_path]
        else:
            same = [camera for camera in present if camera.name == last.name]
        if not same:
            raise DeviceError(f'camera "{last.name}" is not plugged in')
        return _permitted(next((c for c in same if c.address == last.address), same[0]))

    def _check_silence(self, index: int, silence_s: float, *, refused: bool) -> None:
        """Raise DeviceError when no frame for `silence_s` seconds means that the camera is lost.

        A frame damaged in transit is passed over. A call that is refused at once, and not after
        a timeout, means that the device is gone.
        """
        self._check_node()
        if index == 0:
            limit_s = START_S if refused else FIRST_FRAME_S
        else:
            limit_s = 0 if refused else max(SILENCE_S, 2.5 / float(self.rate))
        if silence_s >= limit_s:
            reason = "it does not answer" if refused else f"no frame for {silence_s:.1f} s"
            raise DeviceError(f"camera {self.label} lost: {reason}")
        if refused:
            self._stopped.wait(0.02)

    def _check_frame(self, frame: Frame) -> None:
        """Raise DeviceError when frames still come but the camera is gone or frozen."""
        if frame.index % 15 == 0:
            self._check_node()
        if self._freeze_detector.is_frozen(frame):
            raise DeviceError(f"camera {self.label} lost: its image is frozen")

    def _check_node(self) -> None:
        assert self._info is not None
        if _device_number(self._info) != self._device_number:
            raise DeviceError(f"camera {self.label} lost: it was unplugged")


def _device_number(camera: CameraInfo) -> int:
    """Return the device number behind the node; 0 where there is none."""
    if isinstance(camera.target, str):
        with suppress(OSError):
            return Path(camera.target).stat().st_rdev
    return 0


def _permitted(camera: CameraInfo) -> CameraInfo:
    """Return `camera` if it can be opened.

    Raises:
        DeviceError: no permission, or nothing behind the node.
    """
    if camera.problem == os.strerror(errno.EACCES):
        hint = _permission_hint(Path(camera.address))
        raise DeviceError(f"no permission for camera {camera}; {hint}")
    if camera.problem:
        raise DeviceError(f"cannot open camera {camera}: {camera.problem}")
    return camera


def _permission_hint(path: Path) -> str:
    group = "video"
    with suppress(OSError, KeyError):
        group = path.group()
    return f"sudo usermod --append --groups {group} $USER, then log in again"


def _open(camera: CameraInfo, size: tuple[int, int], fps: float) -> cv2.VideoCapture:
    # OpenCV reads it whenever a camera is opened.
    os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(TIMEOUT_S)
    # Otherwise some cameras take half a minute to open on Windows.
    os.environ["OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS"] = "0"
    # Its own log would go to the terminal; OpenCV 4 and 5 keep the switch in different places.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)
    mode = _mode_to_request(camera, size, fps)
    capture = cv2.VideoCapture(camera.target, backend())
    if not capture.isOpened():
        capture.release()
        raise DeviceError(_open_failure(camera))
    if mode.fourcc:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*mode.fourcc.ljust(4)))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, mode.width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, mode.height)
    capture.set(cv2.CAP_PROP_FPS, mode.fps)
    return capture


def _mode_to_request(camera: CameraInfo, size: tuple[int, int], fps: float) -> CameraMode:
    if sys.platform != "linux":
        large = size[0] * size[1] > 640 * 480
        return CameraMode("MJPG" if large else "", *size, fps)
    try:
        with v4l2.opened(str(camera.target)) as fd:
            modes = [
                replace(mode, rates=v4l2.rates(fd, mode.fourcc, *size))
                if mode.fits(*size)
                else mode
                for mode in v4l2.modes(fd)
            ]
    except OSError as error:
        raise DeviceError(f"cannot open camera {camera}: {error.strerror}") from None
    return nearest_mode(modes, size, fps)


def _open_failure(camera: CameraInfo) -> str:
    """Return why OpenCV could not open a camera that exists and is permitted."""
    own = f"({os.getpid()})"
    users = [holder for holder in v4l2.holders(camera.address) if own not in holder]
    if users:
        return f"camera {camera} is in use by {', '.join(users)}; close it there"
    return f"cannot open camera {camera}; is another program using it?"


def _actual_mode(capture: cv2.VideoCapture, requested: Fraction) -> tuple[str, Fraction]:
    """Return the mode that the camera reports, as text, and its rate; `requested` without one."""
    width, height = (
        round(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    number = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0x7FFFFFFF
    fourcc = number.to_bytes(4, "little").decode("latin-1").strip("\0 ")
    fps = capture.get(cv2.CAP_PROP_FPS)
    rate = Fraction(fps).limit_denominator(1001) if 0 < fps <= 1000 else requested
    return f"{width}x{height} {fourcc or '?'} {float(rate):.4g} fps", rate
