"""Messages between a performer's machine and the one with the engine: their form and limits.

A control message is one line of JSON. A frame is a header, its metadata (the parameters as JSON on
the way in, nothing on the way out) and a JPEG or PNG image. All that comes is bounded and checked
before it is used, as it may come from anybody.
"""

import json
import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage

from streamcam.errors import EngineError
from streamcam.runtime.frame_ring import MAX_METADATA
from streamcam.types import Image

PROTOCOL = 1
"""Version of all this: both sides must have the same."""
ALPN = "streamcam-engine"
MAX_MESSAGE = 300_000
"""Bytes of a control message: room for the settings, and for a traceback."""
MAX_IMAGE = 8_000_000
"""Bytes of a compressed image."""
HEADER = struct.Struct("!qqdqI")
MAX_FRAME = HEADER.size + MAX_METADATA + MAX_IMAGE
FORMATS = ("JPEG", "PNG")
JPEG_QUALITY = 92
AS_IT_IS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
"""In RGB; a JPEG that says that it lies on its side would have another size."""
COUNTERS = 5
"""Counters of the output ring that are sent, from `HEARTBEAT` on."""

Message = dict[str, Any]


class WireError(EngineError):
    """The other side has sent what no streamcam sends."""


@dataclass(frozen=True, slots=True)
class WireFrame:
    """A frame in flight."""

    index: int
    made_of: int
    captured_at: float
    """By the performer's clock; it comes back as it was, so that latencies need no other clock."""
    version: int
    metadata: bytes
    image: bytes


def frame_bytes(frame: WireFrame) -> bytes:
    """Return a frame as it is sent."""
    numbers = (frame.index, frame.made_of, frame.captured_at, frame.version, len(frame.metadata))
    return b"".join((HEADER.pack(*numbers), frame.metadata, frame.image))


def parse_frame(data: bytes) -> WireFrame:
    """Return the frame that was sent as `data`.

    Raises:
        WireError: it is none.
    """
    if len(data) < HEADER.size:
        raise WireError("a frame was cut off")
    index, made_of, captured_at, version, size = HEADER.unpack_from(data)
    end = HEADER.size + size
    if size > MAX_METADATA or end >= len(data):
        raise WireError("a frame has no image")
    return WireFrame(index, made_of, captured_at, version, data[HEADER.size : end], data[end:])


def compressed(image: Image, *, lossless: bool = False) -> bytes:
    """Return an RGB image ``(H, W, 3)`` as a JPEG with full colour resolution, or as a PNG."""
    suffix, options = ".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if not lossless:
        suffix = ".jpg"
        options = [
            *(cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ]
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()


def decompressed(data: bytes, size: tuple[int, int]) -> Image:
    """Return the RGB image in `data`, which must be of (width, height) `size`.

    Raises:
        WireError: it is no image of that size.
    """
    try:
        # The header alone: a small file may claim to be an image of any size.
        with PillowImage.open(BytesIO(data), formats=FORMATS) as header:
            found = header.size
    except Exception:
        raise WireError("a frame holds no JPEG or PNG image") from None
    if found != size:
        raise WireError(
            f"frames of {found[0]}x{found[1]} came, not of {size[0]}x{size[1]}: start both sides"
            " again, with the same version of streamcam"
        )
    image = cv2.imdecode(np.frombuffer(data, np.uint8), AS_IT_IS)
    if image is None or image.shape != (size[1], size[0], 3):
        raise WireError("a frame holds a damaged image")
    return image.astype(np.uint8, copy=False)


def message_bytes(message: Message) -> bytes:
    """Return a control message as it is sent."""
    return json.dumps(message).encode() + b"\n"


class Lines:
    """Cuts what comes in pieces into control messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that are complete.

        Raises:
            WireError: one is too long, or is none.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, [*lines, self._rest])) > MAX_MESSAGE:
            raise WireError("a message is too long")
        return [_parsed(line) for line in lines]


def _parsed(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise WireError("a message is not JSON with a kind")
    return message
