"""V4L2 ioctls on an open video device, and their structures; see ``videodev2.h``.

Every function takes a file descriptor of `opened`. Calls that the kernel refuses raise OSError:
ENODEV for a device that is gone, ENOTTY or EINVAL for a call that it does not know.
"""

import errno
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from streamcam.errors import DeviceError

if sys.platform == "linux":
    import fcntl

CAPTURE, OUTPUT = 1, 2
"""Stream types: out of the device, and into it."""

HAS_DEVICE_CAPS = 0x80000000
COMPRESSED = 0x1
NEXT_CONTROL = 0x80000000
WRITE, READ, BOTH = 1, 2, 3


def _request(direction: int, number: int, size: int) -> int:
    """Return the number of an ioctl of the class V, computed as ``_IOC`` does."""
    return direction << 30 | size << 16 | ord("V") << 8 | number


CAPABILITY = struct.Struct("16s32s32s3I12x")
DESCRIPTION = struct.Struct("3I32s2I12x")
SIZES = struct.Struct("9I8x")
RATES = struct.Struct("11I8x")
CONTROL = struct.Struct("Ii")
CONTROL_QUERY = struct.Struct("2I32s4i12x")
STREAM = struct.Struct("i")
PARAMETERS = struct.Struct("5I184x")
# The kernel's union of formats holds pointers, and begins where they are aligned.
FORMAT = struct.Struct("I4x12I152x" if struct.calcsize("P") == 8 else "I12I152x")

QUERY_CAPABILITY = _request(READ, 0, CAPABILITY.size)
ENUMERATE_FORMATS = _request(BOTH, 2, DESCRIPTION.size)
GET_FORMAT = _request(BOTH, 4, FORMAT.size)
SET_FORMAT = _request(BOTH, 5, FORMAT.size)
STREAM_ON = _request(WRITE, 18, STREAM.size)
SET_PARAMETERS = _request(BOTH, 22, PARAMETERS.size)
GET_CONTROL = _request(BOTH, 27, CONTROL.size)
SET_CONTROL = _request(BOTH, 28, CONTROL.size)
QUERY_CONTROL = _request(BOTH, 36, CONTROL_QUERY.size)
ENUMERATE_SIZES = _request(BOTH, 74, SIZES.size)
ENUMERATE_RATES = _request(BOTH, 75, RATES.size)


@dataclass(frozen=True, slots=True)
class Format:
    """Current format of a stream: width and height in pixels, line and image size in bytes."""

    fourcc: str
    width: int
    height: int
    field: int
    bytesperline: int
    sizeimage: int


@dataclass(frozen=True, slots=True)
class Mode:
    """A pixel format and its sizes: one, or all from `min_size` to `max_size` by `step`."""

    fourcc: str
    compressed: bool
    min_size: tuple[int, int]
    max_size: tuple[int, int]
    step: tuple[int, int]
    rates: tuple[Fraction, ...]
    """Frames per second at the largest size, fastest first."""

    def fits(self, width: int, height: int) -> bool:
        """Return whether frames of this size are available."""
        sides = zip((width, height), self.min_size, self.max_size, self.step, strict=True)
        return all(
            low <= side <= high and (side - low) % step == 0 for side, low, high, step in sides
        )


@contextmanager
def opened(path: Path | str) -> Iterator[int]:
    """Open the device and yield its file descriptor; other programs may go on streaming from it.

    Raises:
        DeviceError: this is not Linux.
        OSError: there is no such device, or no permission.
    """
    if sys.platform != "linux":
        raise DeviceError(f"{path}: video devices have paths on Linux only")
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def query(fd: int) -> tuple[str, str, str, str, int]:
    """Return the device's name, driver, bus, kernel version and capabilities."""
    answer = CAPABILITY.unpack(_ioctl(fd, QUERY_CAPABILITY, bytes(CAPABILITY.size)))
    driver, card, bus = map(_text, answer[:3])
    version, everything, own = answer[3:]
    number = f"{version >> 16}.{version >> 8 & 255}.{version & 255}"
    return card, driver, bus, number, own if everything & HAS_DEVICE_CAPS else everything


def format_of(fd: int, stream: int = CAPTURE) -> Format:
    """Return the current format of `stream`; EINVAL where the device has no such stream now."""
    request = FORMAT.pack(stream, *[0] * 12)
    _, width, height, fourcc, field, line, size, *_ = FORMAT.unpack(_ioctl(fd, GET_FORMAT, request))
    return Format(_fourcc(fourcc), width, height, field, line, size)


def modes(fd: int, stream: int = CAPTURE) -> tuple[Mode, ...]:
    """Return all pixel formats with their sizes and rates, in the driver's order."""
    return tuple(
        mode
        for kind in _enumerated(fd, ENUMERATE_FORMATS, DESCRIPTION, stream)
        for mode in _sizes(fd, kind[4], compressed=bool(kind[2] & COMPRESSED))
    )


def _sizes(fd: int, fourcc: int, *, compressed: bool) -> Iterator[Mode]:
    for _, _, kind, *sides in _enumerated(fd, ENUMERATE_SIZES, SIZES, fourcc):
        # Discrete sizes have two numbers, ranges six: min, max and step, width before height.
        w, h = (sides[:1] * 2 + [1], sides[1:2] * 2 + [1]) if kind == 1 else (sides[:3], sides[3:])
        min_size, max_size, step = zip(w, h, strict=True)
        rates = _rates(fd, fourcc, *max_size)
        yield Mode(_fourcc(fourcc), compressed, min_size, max_size, step, rates)


def rates(fd: int, fourcc: str, width: int, height: int) -> tuple[Fraction, ...]:
    """Return the available frames per second, fastest first; of a range both ends."""
    return _rates(fd, _number(fourcc), width, height)


def _rates(fd: int, fourcc: int, width: int, height: int) -> tuple[Fraction, ...]:
    found = set()
    for answer in _enumerated(fd, ENUMERATE_RATES, RATES, fourcc, width, height):
        kind, *intervals = answer[4:]
        for part in range(1 if kind == 1 else 2):
            seconds, parts = intervals[2 * part : 2 * part + 2]
            if seconds and parts:
                found.add(Fraction(parts, seconds))
    return tuple(sorted(found, reverse=True))


def controls(fd: int) -> dict[str, int]:
    """Return the id of every control by its name, such as ``{"timeout": 0x98f902}``."""
    found: dict[str, int] = {}
    number = 0
    while True:
        request = CONTROL_QUERY.pack(number | NEXT_CONTROL, 0, b"", 0, 0, 0, 0)
        try:
            number, _, name, *_ = CONTROL_QUERY.unpack(_ioctl(fd, QUERY_CONTROL, request))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return found
            raise
        found[_text(name)] = number


def control(fd: int, number: int) -> int:
    """Return the value of the control `number`."""
    value: int = CONTROL.unpack(_ioctl(fd, GET_CONTROL, CONTROL.pack(number, 0)))[1]
    return value


def set_control(fd: int, number: int, value: int) -> None:
    """Set the control `number`; the driver clamps or refuses values out of range."""
    _ioctl(fd, SET_CONTROL, CONTROL.pack(number, value))


def set_format(fd: int, fourcc: str, width: int, height: int, stream: int = CAPTURE) -> None:
    """Request a format; the driver may choose another without an error: check with `format_of`."""
    request = FORMAT.pack(stream, width, height, _number(fourcc), *[0] * 9)
    _ioctl(fd, SET_FORMAT, request)


def set_rate(fd: int, rate: Fraction, stream: int = CAPTURE) -> None:
    """Request a frame rate; on an output it is the rate announced to readers."""
    _ioctl(fd, SET_PARAMETERS, PARAMETERS.pack(stream, 0, 0, rate.denominator, rate.numerator))


def start(fd: int, stream: int = CAPTURE) -> None:
    """Turn the stream on; EINVAL where the driver needs buffers first."""
    _ioctl(fd, STREAM_ON, STREAM.pack(stream))


def _enumerated(
    fd: int, request: int, layout: struct.Struct, *of: int
) -> Iterator[tuple[int, ...]]:
    """Yield the driver's answers to `request` for the indices 0, 1, … until it has no more."""
    index = 0
    while True:
        query = struct.pack(f"{1 + len(of)}I", index, *of).ljust(layout.size, b"\0")
        try:
            yield layout.unpack(_ioctl(fd, request, query))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return
            raise
        index += 1


def _ioctl(fd: int, request: int, argument: bytes) -> bytes:
    return fcntl.ioctl(fd, request, argument)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def _fourcc(number: int) -> str:
    # The highest bit stands for big-endian.
    return (number & 0x7FFFFFFF).to_bytes(4, "little").decode("latin-1").rstrip()


def _number(fourcc: str) -> int:
    return int.from_bytes(fourcc.ljust(4).encode("latin-1"), "little")
