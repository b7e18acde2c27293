"""Place for one client at an engine process: its frames, its outputs, its messages."""

import logging
import threading
from collections import deque
from typing import Any, Protocol

from streamcam.runtime.engine_frames import EngineFrames
from streamcam.runtime.engine_message import EngineMessage
from streamcam.runtime.engine_worker import HEARTBEAT
from streamcam.runtime.frame_ring import FrameRing, RingFrame
from streamcam.runtime.remote.wire import (
    COUNTERS,
    WireError,
    WireFrame,
    compressed,
    decompressed,
    frame_bytes,
)
from streamcam.settings.config import Config
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

IDLE_S = 0.1
VERSIONS = 1 << 31
"""Versions of parameters that a client may have."""


class Client(Protocol):
    """The client that an engine works for; called from threads."""

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until another output may be sent; return whether it may."""

    def send_output(self, data: bytes) -> None:
        """Send a frame that was made for this client."""

    def send_engine(self, message: dict[str, Any]) -> None:
        """Send a message of the engine."""

    def engine_ended(self, reason: str) -> None:
        """Take the end of the engine process."""

    def refuse(self, reason: str) -> None:
        """End the connection to this client, which has sent what no client sends."""


class EngineSlot:
    """Passes frames to an engine process and outputs from it, for one client at a time.

    Args:
        config: what the engine runs.
    """

    def __init__(self, config: Config) -> None:
        self._frames = EngineFrames(config)
        self._client: Client | None = None
        self._clients = 0
        self._last: dict[str, EngineMessage] = {}
        """The newest message of each kind that a client must have heard."""
        self._base = [0] * COUNTERS
        self._stopping = threading.Event()
        self._threads = [
            SupervisedThread("outputs", self._send_outputs, self._stopping),
            SupervisedThread("frames", self._decompress_frames, self._stopping),
        ]
        self._size = (config.width, config.height)
        ring, _ = self._frames.rings
        self._waiting: deque[tuple[int, WireFrame]] = deque(maxlen=ring.capacity)
        """Frames as they came, each with the number of its client; newer ones push out older."""
        self._has_come = threading.Event()
        self._lossless = False

    def start(self) -> None:
        """Begin to take frames and to send outputs."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no more, and free the memory; the engine process must have ended."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._frames.close()

    @property
    def is_free(self) -> bool:
        """Whether no client uses it."""
        return self._client is None

    @property
    def is_ready(self) -> bool:
        """Whether the engine process has loaded its model."""
        return "ready" in self._last

    def attach(self, client: Client, *, lossless: bool = False) -> None:
        """Work for `client` from now on; its outputs are `lossless` if it asks for that."""
        self._clients += 1
        self._lossless = lossless
        self._base = self._counts()
        self._client = client
        for message in list(self._last.values()):
            client.send_engine(_as_json(message, 0))

    def detach(self) -> None:
        """Work for nobody."""
        self._client = None

    def put(self, frame: WireFrame) -> None:
        """Give the engine a frame of its client; it is decompressed in another thread."""
        self._waiting.append((self._clients, frame))
        self._has_come.set()

    def counts(self) -> list[int]:
        """Return the counters of the engine since its client came."""
        newest_taken = COUNTERS - 1
        now = self._counts()
        return [
            count - (0 if place == newest_taken else base)
            for place, (count, base) in enumerate(zip(now, self._base, strict=True))
        ]

    def _counts(self) -> list[int]:
        _, outputs = self._frames.rings
        return [int(n) for n in outputs.counters[HEARTBEAT : HEARTBEAT + COUNTERS]]

    # ---- from the host

    @property
    def rings(self) -> tuple[FrameRing, FrameRing]:
        """The rings of frames and of outputs, as the engine process gets them."""
        return self._frames.rings

    @property
    def heartbeat(self) -> int:
        """Number that changes for as long as the engine is well."""
        return self._frames.heartbeat

    def begin(self) -> None:
        """Take the start of another engine process."""
        self._last = {}

    def take(self, message: EngineMessage) -> None:
        """Take a message of the engine process."""
        if message.kind in ("ready", "notice"):
            self._last[message.kind] = message
        if client := self._client:
            client.send_engine(_as_json(message, self._clients * VERSIONS))

    def ended(self, reason: str) -> None:
        """Take the end of the engine process."""
        if client := self._client:
            client.engine_ended(reason)

    # ---- the thread that decompresses frames: one client must not hold up the others

    def _decompress_frames(self) -> None:
        while not self._stopping.is_set():
            if not self._has_come.wait(IDLE_S):
                continue
            self._has_come.clear()
            while self._waiting:
                self._decompress(*self._waiting.popleft())

    def _decompress(self, number: int, frame: WireFrame) -> None:
        client = self._client
        if client is None or number != self._clients:
            return  # Of a client that has gone.
        try:
            image = decompressed(frame.image, self._size)
        except WireError as error:
            client.refuse(str(error))
            return
        ring, _ = self._frames.rings
        # Two clients may number different parameters alike.
        version = number * VERSIONS + frame.version
        ring.put(image, frame.index, frame.captured_at, version=version, metadata=frame.metadata)

    # ---- the thread that sends outputs

    def _send_outputs(self) -> None:
        _, outputs = self._frames.rings
        while not self._stopping.is_set():
            if not outputs.wait(IDLE_S):
                continue
            client = self._client
            if client is None:
                outputs.take()
                continue
            if client.wait_for_room(IDLE_S):
                for entry in outputs.take():
                    # What was made for the client before is not for this one.
                    if entry.version // VERSIONS == self._clients:
                        client.send_output(self._output_bytes(entry))

    def _output_bytes(self, entry: RingFrame) -> bytes:
        image = compressed(entry.image, lossless=self._lossless)
        version = entry.version % VERSIONS
        return frame_bytes(
            WireFrame(entry.index, entry.made_of, entry.captured_at, version, b"", image)
        )


def _as_json(message: EngineMessage, versions: int) -> dict[str, Any]:
    content = message._asdict()
    content["type"] = content.pop("kind")
    content["version"] = max(0, message.version - versions)
    del content["gpu"], content["accepts_any_size"]
    return content
