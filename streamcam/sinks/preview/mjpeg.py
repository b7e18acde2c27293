"""MJPEG streams of the newest image, encoded once for all viewers and only on request."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

import cv2

from streamcam.types import Image

BOUNDARY = "frame"
QUALITY = 85
REPEAT_S = 1.0
"""Seconds after which an unchanged image is sent again."""


class FrameNotifier:
    """Wakes the viewers when there may be a new frame; lives in one event loop."""

    def __init__(self) -> None:
        self.count = 0
        """Notifications so far."""
        self.viewers = 0
        """Streams that are being watched."""
        self._next = asyncio.Event()
        self._closed = asyncio.Event()

    def notify(self) -> None:
        """Wake every viewer that waits."""
        self.count += 1
        current, self._next = self._next, asyncio.Event()
        current.set()

    def close(self) -> None:
        """End all streams."""
        self._closed.set()
        self.notify()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    @property
    def open(self) -> bool:
        """Whether `close` has not been called."""
        return not self._closed.is_set()

    async def wait_after(self, count: int, timeout_s: float) -> None:
        """Wait for a notification later than the first `count`, at most `timeout_s` seconds."""
        if self.count == count:
            # On a timeout the last image is sent again, so that the viewer sees it is connected.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._next.wait(), timeout_s)

    @contextmanager
    def viewer(self) -> Iterator[None]:
        """Count a viewer within the block."""
        self.viewers += 1
        try:
            yield
        finally:
            self.viewers -= 1


class LatestJpeg:
    """The newest image as JPEG.

    Args:
        newest: returns the image ``(H, W, 3)`` uint8 RGB, the same object as long as it is the
            same image; None while there is none.
    """

    def __init__(self, newest: Callable[[], Image | None]) -> None:
        self.encodings = 0
        """Images encoded so far."""
        self._newest = newest
        self._lock = asyncio.Lock()
        self._image: Image | None = None
        self._jpeg: bytes | None = None

    async def get(self) -> bytes | None:
        """Return the newest image encoded; the same object for the same image."""
        async with self._lock:
            image = self._newest()
            if image is not None and image is not self._image:
                self._jpeg = await asyncio.to_thread(encoded, image)
                self._image = image
                self.encodings += 1
            return self._jpeg


async def parts(latest: LatestJpeg, notifier: FrameNotifier) -> AsyncIterator[bytes]:
    """Yield a multipart stream: the newest image whenever the viewer is ready for one."""
    clock = asyncio.get_running_loop().time
    # Browsers show a part when they see where it ends, so each ends with the next one's boundary.
    yield f"--{BOUNDARY}\r\n".encode()
    sent, sent_at = None, 0.0
    while notifier.open:
        count = notifier.count
        jpeg = await latest.get()
        if jpeg is not None and (jpeg is not sent or clock() - sent_at >= REPEAT_S):
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            yield b"%b%b\r\n--%b\r\n" % (head.encode(), jpeg, BOUNDARY.encode())
            # The server asks for the next piece when the viewer has taken the last one: choose the
            # next image then, not before.
            yield b""
            sent, sent_at = jpeg, clock()
        await notifier.wait_after(count, REPEAT_S)


def encoded(image: Image) -> bytes:
    """Return `image` as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
