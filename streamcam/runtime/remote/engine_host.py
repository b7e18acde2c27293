"""One engine process on the machine that serves engines, kept ready from client to client."""

import logging
import multiprocessing
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from streamcam.runtime.engine_message import EngineMessage
from streamcam.runtime.engine_worker import serve
from streamcam.runtime.remote.engine_slot import EngineSlot
from streamcam.runtime.remote.shared_worker import serve_shared
from streamcam.settings.config import Config
from streamcam.system.backoff import Backoff
from streamcam.system.child_process import start_guarded, temporary_folder
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

IDLE_S = 0.1
KILL_S = 5.0
HUNG_S = 2.0
"""Seconds without a sign of life after which an engine is not kept for the next client."""


class EngineHost:
    """Starts an engine process for its slots, and another one whenever it ends.

    Args:
        config: what the engine runs.
        name: in the log.
        slots: how many clients it works for at a time; more than one share all calls of the model.
    """

    def __init__(self, config: Config, name: str, slots: int) -> None:
        self._config = config
        self._name = name
        self.slots = [EngineSlot(config) for _ in range(slots)]
        self._process: BaseProcess | None = None
        self._stopping = threading.Event()
        self._thread = SupervisedThread(name, self._supervise, self._stopping)
        self.has_started = False

    def start(self) -> None:
        """Start the engine process; returns at once."""
        self.has_started = True
        for slot in self.slots:
            slot.start()
        self._thread.start()

    def stop(self) -> None:
        """End the engine process, and free its memory."""
        self._stopping.set()
        if self.has_started:
            self._kill()
            self._thread.join()
        for slot in self.slots:
            slot.stop()

    def check_soon(self) -> None:
        """Replace the engine if it shows no sign of life from now on, though nobody uses it."""
        before = [slot.heartbeat for slot in self.slots]
        threading.Timer(HUNG_S, self._replace_if_hung, [before, self._process]).start()

    def _replace_if_hung(self, before: Sequence[int], process: BaseProcess | None) -> None:
        if self._stopping.is_set() or not all(slot.is_free for slot in self.slots):
            return
        if process is self._process and before == [slot.heartbeat for slot in self.slots]:
            log.warning("%s: it has hung, another one is started", self._name)
            self._kill()

    def _kill(self) -> None:
        if process := self._process:
            process.kill()

    # ---- the supervising thread

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
            for slot in self.slots:
                slot.ended(reason)
            self._stopping.wait(backoff.next(healthy_s=time.monotonic() - began))

    def _run_once(self, folder: Path) -> str:
        context = multiprocessing.get_context("spawn")
        with ExitStack() as stack:
            pipes = [context.Pipe() for _ in self.slots]
            for ours, _ in pipes:
                stack.enter_context(ours)
            with ExitStack() as theirs:
                for _, end in pipes:
                    theirs.enter_context(end)
                links = [(*s.rings, end) for s, (_, end) in zip(self.slots, pipes, strict=True)]
                alone = len(links) == 1
                process = context.Process(
                    target=serve if alone else serve_shared,
                    args=(self._config, *links[0]) if alone else (self._config, links),
                    name="streamcam-engine",
                    daemon=True,
                )
                start_guarded(process.start, folder)
            self._process = process
            for slot in self.slots:
                slot.begin()
            try:
                return self._listen([ours for ours, _ in pipes])
            finally:
                process.kill()
                process.join(KILL_S)

    def _listen(self, connections: Sequence[Connection]) -> str:
        slots = dict(zip(connections, self.slots, strict=True))
        while not self._stopping.is_set():
            for ready in wait(connections, IDLE_S):
                assert isinstance(ready, Connection)
                try:
                    message: EngineMessage = ready.recv()
                except (EOFError, OSError):
                    return "the engine has died"
                if message.kind in ("log", "ready") and ready is connections[0]:
                    log.info("%s: %s", self._name, message.text or "the engine is running")
                slots[ready].take(message)
                if message.kind in ("failed", "crashed"):
                    return message.text
        return "stopped"
