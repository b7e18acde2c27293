"""Writer of frames to a v4l2loopback device.

It replaces pyvirtualcam, which on Linux does not check the format it got, reports failed writes
only on stderr, blocks every other thread while it writes, turns RGB into I420, keeps open the
devices it refuses, and leaves devices of v4l2loopback before 0.13 unusable.
"""

import errno
import logging
import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamcam import v4l2
from streamcam.errors import DeviceError
from streamcam.v4l2.kernel_module import GROUP

log = logging.getLogger(__name__)

FOURCC = {"rgb": "RGB3", "i420": "YU12", "nv12": "NV12", "yuyv": "YUYV", "uyvy": "UYVY"}
"""The kernel's names of the formats of `streamcam.pixels`."""

WRITER_PERIOD_S = 0.25
"""Longer than one frame of any program that is writing."""
MAX_BUFFERS = 32
"""Upper limit of the buffers of a loopback device."""


class LoopbackWriter:
    """An open loopback device with its format set.

    Args:
        path: of the device.
        size: (width, height) of the frames.
        fps: frames per second announced to readers.
        pixel_format: one of `FOURCC`.

    Raises:
        DeviceError: it is busy, gone, forbidden, or held at another format.
    """

    def __init__(self, path: Path, size: tuple[int, int], *, fps: float, pixel_format: str) -> None:
        self._path = path
        self._fd = _open(path)
        try:
            _set_format(self._fd, path, FOURCC[pixel_format], size)
            _announce_rate(self._fd, path, fps)
        except BaseException:
            self.close()
            raise

    def send(self, frame: NDArray[np.uint8]) -> None:
        """Write one frame, contiguous, in the format that was set.

        Raises:
            DeviceError: the device is gone, or took only a part of the frame.
        """
        try:
            written = os.write(self._fd, frame.data)
        except OSError as error:
            raise DeviceError(
                f"{self._path} accepts no frames any more: {error.strerror}{_users(self._path)}"
            ) from None
        if written != frame.nbytes:
            raise DeviceError(
                f"{self._path} took {written} of {frame.nbytes} bytes: its format was changed"
                f"{_users(self._path)}"
            )

    def close(self) -> None:
        os.close(self._fd)


def _open(path: Path) -> int:
    """Return a file descriptor of a device that accepts frames now."""
    try:
        with v4l2.opened(path) as fd:
            *_, capabilities = v4l2.query(fd)
            if not capabilities & v4l2.CAN_OUTPUT:
                _make_writable(fd, path, capabilities)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise explain_refusal(path, error) from None


def _make_writable(fd: int, path: Path, capabilities: int) -> None:
    """Revive a device that accepts no frames, or raise DeviceError where another program writes.

    With ``exclusive_caps=1`` a device with a writer accepts no second one. Before 0.13, which has
    no attribute ``state``, a writer that used write() also leaves it so when it ends.
    """
    if v4l2.attribute(path, "state") is not None:
        raise DeviceError(_in_use(path))
    if capabilities & v4l2.CAN_CAPTURE and _frames_arrive(fd):
        raise DeviceError(_in_use(path))
    revive(path)
    log.info("%s was left unusable by its last writer; it is usable again", path)


def _frames_arrive(fd: int) -> bool:
    """Return whether a program writes to the device within `WRITER_PERIOD_S`."""
    _read_all(fd)
    time.sleep(WRITER_PERIOD_S)
    return _read_all(fd) > 0


def _read_all(fd: int) -> int:
    """Read the first byte of every frame that waits, and return how many there were."""
    for count in range(MAX_BUFFERS):
        try:
            os.read(fd, 1)
        except BlockingIOError:
            return count
    return MAX_BUFFERS


def revive(path: Path) -> None:
    """Make a device of v4l2loopback before 0.13 announce again that it accepts frames.

    It does so when a file is closed whose stream was turned on. Turning it on may be refused,
    since there are no buffers: it counts all the same. Needs no more rights than writing does.
    """
    with v4l2.opened(path) as fd:
        _turn_on(fd)
    with v4l2.opened(path) as fd:
        # The kernel accepts formats by the capabilities that the device last reported.
        v4l2.query(fd)


def _turn_on(fd: int) -> None:
    try:
        v4l2.start(fd, v4l2.OUTPUT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _set_format(fd: int, path: Path, fourcc: str, size: tuple[int, int]) -> None:
    """Set the format and check it: the driver reports success and keeps a reader's format."""
    try:
        v4l2.set_format(fd, fourcc, *size, v4l2.OUTPUT)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise DeviceError(_held_format(path, v4l2.format_of(fd, v4l2.OUTPUT))) from None
        raise explain_refusal(path, error) from None
    actual = v4l2.format_of(fd, v4l2.OUTPUT)
    if (actual.fourcc, actual.width, actual.height) == (fourcc, *size):
        return
    if (actual.width, actual.height) == size and not _users(path):
        raise DeviceError(
            f"{path} does not support {fourcc}, it chose {actual.fourcc}; choose another"
            " pixel_format"
        )
    raise DeviceError(_held_format(path, actual))


def _held_format(path: Path, held: v4l2.Format) -> str:
    """Return the error that another program holds `path` at another format, with the remedy."""
    names = {fourcc: name for name, fourcc in FOURCC.items()}
    size = f"{held.width}x{held.height}"
    same = f" or set canvas={size} and pixel_format={names.get(held.fourcc, held.fourcc)}"
    return (
        f"{path} is held at {held.fourcc} {size} by a program that has it open{_users(path)};"
        f" close it,{same}"
    )


def _announce_rate(fd: int, path: Path, fps: float) -> None:
    """Announce the rate to readers; before 0.13, make sure that the device outlives this writer."""
    try:
        v4l2.set_rate(fd, Fraction(fps).limit_denominator(1001), v4l2.OUTPUT)
        if v4l2.attribute(path, "state") is None:
            _turn_on(fd)
    except OSError as error:
        raise explain_refusal(path, error) from None


def _in_use(path: Path) -> str:
    """Return the error that another program writes to `path`, with its name where visible."""
    return (
        f"{path} is in use: another program writes to it{_users(path)}; stop it,"
        " or load v4l2loopback with another device"
    )


def _users(path: Path) -> str:
    """Return the other processes that have `path` open, in brackets; empty where none is seen."""
    names = [name for name in v4l2.holders(path) if not name.endswith(f"({os.getpid()})")]
    return f" ({', '.join(names)})" if names else ""


def explain_refusal(path: Path | str, error: OSError) -> DeviceError:
    """Return the reason for which the kernel refused to open or set `path`, with the remedy."""
    if isinstance(error, PermissionError):
        return DeviceError(f"no permission for {path}: {GROUP}")
    if isinstance(error, FileNotFoundError):
        return DeviceError(f"no device {path}; list the devices with: streamcam devices")
    return DeviceError(f"{path}: {error.strerror}")
