"""Pictures as MJPEG: encoded once for all who watch, and only when one of them asks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

import cv2

from streamcam.types import Image

BOUNDARY = "picture"
QUALITY = 85
REPEAT_S = 1.0
"""Seconds after which a picture that stands still is sent again."""


class FrameNotifier:
    """Wakes those who watch when there may be something new; lives in one event loop."""

    def __init__(self) -> None:
        self.count = 0
        self.watched = 0
        self._next = asyncio.Event()
        self._closed = asyncio.Event()

    def tick(self) -> None:
        self.count += 1
        waited, self._next = self._next, asyncio.Event()
        waited.set()

    def close(self) -> None:
        """Send everyone home."""
        self._closed.set()
        self.tick()

    async def closed(self) -> None:
        await self._closed.wait()

    @property
    def open(self) -> bool:
        return not self._closed.is_set()

    async def after(self, count: int, timeout_s: float) -> None:
        """Wait until there was a tick after the first `count`, or the time is over."""
        if self.count == count:
            # Without a tick something is sent again, so that the reader sees it is connected.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._next.wait(), timeout_s)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.watched += 1
        try:
            yield
        finally:
            self.watched -= 1


class LatestJpeg:
    """The newest picture of one kind.

    Args:
        newest: the picture ``(H, W, 3)`` uint8 RGB, the same object as long as it is the same
            picture; None while there is none.
    """

    def __init__(self, newest: Callable[[], Image | None]) -> None:
        self.encodings = 0
        """Pictures encoded so far."""
        self._newest = newest
        self._lock = asyncio.Lock()
        self._image: Image | None = None
        self._jpeg: bytes | None = None

    async def jpeg(self) -> bytes | None:
        """Return the newest picture; the same object for the same picture."""
        async with self._lock:
            image = self._newest()
            if image is not None and image is not self._image:
                self._jpeg = await asyncio.to_thread(encoded, image)
                self._image = image
                self.encodings += 1
            return self._jpeg


async def parts(picture: LatestJpeg, ticker: FrameNotifier) -> AsyncIterator[bytes]:
    """Yield a multipart stream: the newest picture whenever the reader is ready for one."""
    clock = asyncio.get_running_loop().time
    # Browsers show a part when they see where it ends, so each ends with the next one's boundary.
    yield f"--{BOUNDARY}\r\n".encode()
    sent, sent_at = None, 0.0
    while ticker.open:
        count = ticker.count
        jpeg = await picture.jpeg()
        if jpeg is not None and (jpeg is not sent or clock() - sent_at >= REPEAT_S):
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            yield b"%b%b\r\n--%b\r\n" % (head.encode(), jpeg, BOUNDARY.encode())
            # The server takes the next piece when the reader has taken the last one: choose the
            # next picture then, not before.
            yield b""
            sent, sent_at = jpeg, clock()
        await ticker.after(count, REPEAT_S)


def encoded(image: Image) -> bytes:
    """Return `image` as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
