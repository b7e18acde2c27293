"""Write pictures to a v4l2loopback device.

In place of pyvirtualcam, which on Linux never looks at the format it got, tells of failed writes
on stderr alone, stops every other thread while it writes, turns RGB into I420, keeps open what it
refuses, and leaves devices of v4l2loopback before 0.13 dead.
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
"""The kernel's names for the formats of `streamcam.pixels`."""

LIVE_PRODUCER_S = 0.25
"""Longer than a frame of any program that is writing."""
MOST_BUFFERS = 32
"""That a loopback device can have."""


class LoopbackWriter:
    """An open loopback device, its format agreed on.

    Args:
        path: of the device.
        size: (width, height) of the pictures.
        fps: frames per second that readers are told.
        pixel_format: one of `FOURCC`.

    Raises:
        DeviceError: it is busy, gone, forbidden, or takes another format.
    """

    def __init__(self, path: Path, size: tuple[int, int], *, fps: float, pixel_format: str) -> None:
        self._path = path
        self._fd = _opened(path)
        try:
            _agree(self._fd, path, FOURCC[pixel_format], size)
            _settle(self._fd, path, fps)
        except BaseException:
            self.close()
            raise

    def send(self, frame: NDArray[np.uint8]) -> None:
        """Write one picture, contiguous, in the format agreed on.

        Raises:
            DeviceError: the device is gone, or took less than the whole.
        """
        try:
            written = os.write(self._fd, frame.data)
        except OSError as error:
            raise DeviceError(
                f"{self._path} takes no pictures any more: {error.strerror}{_others(self._path)}"
            ) from None
        if written != frame.nbytes:
            raise DeviceError(
                f"{self._path} took {written} of {frame.nbytes} bytes: its format was changed"
                f"{_others(self._path)}"
            )

    def close(self) -> None:
        os.close(self._fd)


def _opened(path: Path) -> int:
    """Return a file descriptor for a device that takes pictures now."""
    try:
        with v4l2.opened(path) as fd:
            *_, capabilities = v4l2.query(fd)
            if not capabilities & v4l2.CAN_OUTPUT:
                _free(fd, path, capabilities)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise refused(path, error) from None


def _free(fd: int, path: Path, capabilities: int) -> None:
    """Bring a device that takes no pictures back, or say why it takes none.

    With ``exclusive_caps=1`` one that is being written to takes no second writer. Before 0.13,
    which has no attribute ``state``, a writer that used write() also leaves it so when it goes.
    """
    if v4l2.attribute(path, "state") is not None:
        raise DeviceError(busy(path))
    if capabilities & v4l2.CAN_CAPTURE and _pictures_arrive(fd):
        raise DeviceError(busy(path))
    revive(path)
    log.info("%s was left unusable by its last writer; it is usable again", path)


def _pictures_arrive(fd: int) -> bool:
    """Return whether somebody writes to the device while we look."""
    _read_all(fd)
    time.sleep(LIVE_PRODUCER_S)
    return _read_all(fd) > 0


def _read_all(fd: int) -> int:
    """Read the beginning of every picture that waits, and return how many there were."""
    for count in range(MOST_BUFFERS):
        try:
            os.read(fd, 1)
        except BlockingIOError:
            return count
    return MOST_BUFFERS


def revive(path: Path) -> None:
    """Make a device of v4l2loopback before 0.13 announce again that it takes pictures.

    It does so when a file is closed whose stream was turned on. Turning it on may be refused,
    since there are no buffers: it counts all the same. Needs no more rights than writing does.
    """
    with v4l2.opened(path) as fd:
        _turn_on(fd)
    with v4l2.opened(path) as fd:
        # The kernel takes formats by what the device last said that it can do.
        v4l2.query(fd)


def _turn_on(fd: int) -> None:
    try:
        v4l2.start(fd, v4l2.OUTPUT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _agree(fd: int, path: Path, fourcc: str, size: tuple[int, int]) -> None:
    """Set the format, and make sure that it holds: the driver says yes and keeps a reader's."""
    try:
        v4l2.set_format(fd, fourcc, *size, v4l2.OUTPUT)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise DeviceError(_held(path, v4l2.format_of(fd, v4l2.OUTPUT))) from None
        raise refused(path, error) from None
    got = v4l2.format_of(fd, v4l2.OUTPUT)
    if (got.fourcc, got.width, got.height) == (fourcc, *size):
        return
    if (got.width, got.height) == size and not _others(path):
        raise DeviceError(
            f"{path} does not know {fourcc}, it gave {got.fourcc}; choose another pixel_format"
        )
    raise DeviceError(_held(path, got))


def _held(path: Path, held: v4l2.Format) -> str:
    """Say that whoever has `path` open keeps it at another format, and what to do."""
    names = {fourcc: name for name, fourcc in FOURCC.items()}
    size = f"{held.width}x{held.height}"
    same = f" or set canvas={size} and pixel_format={names.get(held.fourcc, held.fourcc)}"
    return (
        f"{path} is held at {held.fourcc} {size} by a program that has it open{_others(path)};"
        f" close it,{same}"
    )


def _settle(fd: int, path: Path, fps: float) -> None:
    """Tell readers the rate; before 0.13, see to it that the device outlives this writer."""
    try:
        v4l2.set_rate(fd, Fraction(fps).limit_denominator(1001), v4l2.OUTPUT)
        if v4l2.attribute(path, "state") is None:
            _turn_on(fd)
    except OSError as error:
        raise refused(path, error) from None


def busy(path: Path) -> str:
    """Say who writes to `path`, as far as can be seen."""
    return (
        f"{path} is in use: another program writes to it{_others(path)}; stop it,"
        " or load v4l2loopback with a further device"
    )


def _others(path: Path) -> str:
    """Return who else has `path` open, in brackets; nothing where nobody is seen."""
    names = [name for name in v4l2.holders(path) if not name.endswith(f"({os.getpid()})")]
    return f" ({', '.join(names)})" if names else ""


def refused(path: Path | str, error: OSError) -> DeviceError:
    """Return what the kernel's refusal means, with the remedy."""
    if isinstance(error, PermissionError):
        return DeviceError(f"no permission for {path}: {GROUP}")
    if isinstance(error, FileNotFoundError):
        return DeviceError(f"no device {path}; list what there is with: streamcam devices")
    return DeviceError(f"{path}: {error.strerror}")
