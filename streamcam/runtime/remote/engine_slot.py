"""One engine process on the machine that serves engines, kept ready from client to client."""

import logging
import multiprocessing
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from streamcam.runtime.engine_frames import EngineFrames
from streamcam.runtime.engine_worker import HEARTBEAT, EngineMessage, serve
from streamcam.runtime.frame_ring import RingFrame
from streamcam.runtime.remote.wire import WireFrame, compressed, frame_bytes
from streamcam.settings.config import Config
from streamcam.system.backoff import Backoff
from streamcam.system.child_process import start_guarded, temporary_folder
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

COUNTERS = 5
IDLE_S = 0.1
KILL_S = 1.0
HUNG_S = 2.0
"""Seconds without a sign of life after which an engine is not kept for the next client."""
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


class EngineSlot:
    """Starts an engine process, and another whenever it ends; one client at a time uses it.

    Args:
        config: what the engine runs.
        name: in the log.
    """

    def __init__(self, config: Config, name: str) -> None:
        self._config = config
        self._name = name
        self._frames = EngineFrames(config)
        self._client: Client | None = None
        self._clients = 0
        self._last: dict[str, EngineMessage] = {}
        """The newest message of each kind that a client must have heard."""
        self._process: BaseProcess | None = None
        self._base = [0] * COUNTERS
        self._stopping = threading.Event()
        self._threads = [
            SupervisedThread(f"{name} process", self._supervise, self._stopping),
            SupervisedThread(f"{name} outputs", self._send_outputs, self._stopping),
        ]
        self.lossless = False

    def start(self) -> None:
        """Start the engine process; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the engine process, and free its memory."""
        self._stopping.set()
        self._kill()
        for thread in self._threads:
            thread.join()
        self._frames.close()

    @property
    def is_free(self) -> bool:
        """Whether no client uses it."""
        return self._client is None

    def attach(self, client: Client) -> None:
        """Work for `client` from now on."""
        self._clients += 1
        self._base = self._counts()
        self._client = client
        for message in list(self._last.values()):
            client.send_engine(_as_json(message, 0))

    def detach(self) -> None:
        """Work for nobody; an engine that shows no sign of life is replaced."""
        self._client = None
        threading.Timer(
            HUNG_S, self._replace_if_hung, [self._frames.heartbeat, self._process]
        ).start()

    def put(self, image: Any, frame: WireFrame) -> None:
        """Give the engine a frame of its client."""
        ring, _ = self._frames.rings
        # Two clients may number different parameters alike.
        version = self._clients * VERSIONS + frame.version
        ring.put(image, frame.index, frame.captured_at, version=version, metadata=frame.metadata)

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

    def _replace_if_hung(self, heartbeat: int, process: BaseProcess | None) -> None:
        if self._stopping.is_set() or not self.is_free:
            return
        if process is self._process and self._frames.heartbeat == heartbeat:
            log.warning("%s: it has hung, another one is started", self._name)
            self._kill()

    def _kill(self) -> None:
        if process := self._process:
            process.kill()

    # ---- threads

    def _supervise(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                with temporary_folder() as folder:
                    reason = self._run_once(folder)
            except Exception as error:
                reason = f"it cannot be run: {error}"
            if self._stopping.is_set():
                return
            log.warning("%s: %s", self._name, reason)
            if client := self._client:
                client.engine_ended(reason)
            self._stopping.wait(backoff.next(healthy_s=time.monotonic() - began))

    def _run_once(self, folder: Any) -> str:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with ours:
            with theirs:
                process = context.Process(
                    target=serve,
                    args=(self._config, *self._frames.rings, theirs),
                    name="streamcam-engine",
                    daemon=True,
                )
                start_guarded(process.start, folder)
            self._process, self._last = process, {}
            try:
                return self._listen(ours)
            finally:
                process.kill()
                process.join(KILL_S)

    def _listen(self, connection: Connection) -> str:
        while not self._stopping.is_set():
            try:
                if not connection.poll(IDLE_S):
                    continue
                message: EngineMessage = connection.recv()
            except (EOFError, OSError):
                return "the engine has died"
            if message.kind in ("log", "ready"):
                log.info("%s: %s", self._name, message.text or "the engine is running")
            if message.kind in ("ready", "notice"):
                self._last[message.kind] = message
            if client := self._client:
                client.send_engine(_as_json(message, self._clients * VERSIONS))
            if message.kind in ("failed", "crashed"):
                return message.text
        return "stopped"

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
        image = compressed(entry.image, lossless=self.lossless)
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
