"""Supervise the engine process from the broadcast process: start, feed, watch and restart it."""

import logging
import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from streamcam.control.model_values import Item, items_of_text
from streamcam.errors import EngineError, StreamcamError, one_line
from streamcam.runtime.cluster import cluster_link
from streamcam.runtime.engine_frames import EngineFrames, Work
from streamcam.runtime.engine_message import EngineMessage
from streamcam.runtime.engine_worker import DROPPED, SKIPPED, TAKEN, serve
from streamcam.runtime.remote import link
from streamcam.runtime.source_frames import SourceFrame
from streamcam.runtime.value_history import FIRST_VERSION, ValueHistory
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.system.backoff import Backoff
from streamcam.system.child_process import start_guarded, temporary_folder
from streamcam.system.paths import leave_deleted_folder
from streamcam.system.supervised_thread import SupervisedThread
from streamcam.types import Frame, Image

log = logging.getLogger(__name__)

LOADING, RUNNING, LOST, STOPPED = "loading", "running", "lost", "stopped"
LOADING_DEADLINE_S = 180.0
"""Importing torch from a slow disk may block even the thread that sends heartbeats."""
KILL_S = 5.0
POLL_S = 0.05
SLOWEST_CALLS = 5
"""An engine counts as hung after so many times its slowest call, if that is more than the
setting `engine_deadline`."""
RECENT_CALLS = 100
MAX_NOTICE = 300
OnRefused = Callable[[set[Item], str, Parameters], None]


class EngineProcess:
    """Keep one engine process running; send it frames and receive its outputs.

    `offer` is called from one thread, `outputs` from another; neither ever waits.

    Args:
        config: what the engine runs.
        on_fatal_error: called once, from a thread, if the first engine process cannot run at all.
        on_refused: called from a thread with values that the engine cannot run with, the reason
            in one line, and a snapshot that works.
        candidate: it is to take the place of the engine on air: it is loaded at a low priority and
            without a word, and `on_fatal_error` is called whatever it fails of, until `succeed`.

    Raises:
        EngineError: there is too little shared memory for the frames.
    """

    def __init__(
        self,
        config: Config,
        on_fatal_error: Callable[[StreamcamError], None],
        on_refused: OnRefused = lambda _items, _why, _instead: None,
        *,
        candidate: bool = False,
    ) -> None:
        self.config = config
        self.state = LOADING
        self.activity = f"loading {config.model}"
        """Current loading or restart step, for the operator; empty while frames are processed."""
        self.restarts = 0
        self.gpu = ""
        """UUID of the engine's NVIDIA GPU, once it runs on one."""
        self.schedule = ""
        """The newest report of a video stream on its schedule, in one line."""
        self.notice = ""
        """The engine's newest remark on the live values, in one line; empty if it has none."""
        self._read: frozenset[str] = frozenset()
        """The prompts that `notice` is about."""
        self.prompt_encoding: float | None = None
        """Seconds that its last new prompt took to encode; None before the first."""
        self.applied_parameters = (0, config.live)
        self._candidate = candidate
        self._on_fatal_error = on_fatal_error
        self._on_refused = on_refused
        self._history = ValueHistory(config.live, time.monotonic())
        self._running_since = self._alive_at = 0.0
        self._accepts_any_size = False
        """Whether the engine fits frames itself, on its device."""
        self._frames = EngineFrames(config)
        self._version = FIRST_VERSION
        self._stopping = threading.Event()
        self._call_seconds: deque[float] = deque([0.0], maxlen=RECENT_CALLS)
        self._thread = SupervisedThread("engine", self._supervise, self._stopping)

    def start(self) -> None:
        """Start the engine process; returns at once."""
        self._thread.start()

    def offer(self, frame: Frame, parameters: Parameters) -> None:
        """Send the engine a frame with its snapshot; frames that it has not taken may be lost."""
        changed = parameters is not self.applied_parameters[1]
        if changed:
            self._version += 1
            self._history.add(parameters, self._version, time.monotonic())
            self.applied_parameters = (frame.index, parameters)
        self._frames.send(
            frame,
            parameters if changed else None,
            self._version,
            any_size=self._accepts_any_size,
            keep=parameters.detail > 0 or self.config.empty_prompt == "camera",
        )

    def outputs(self) -> list[Frame]:
        """Return the outputs that have come since the last call, oldest first."""
        outputs = self._frames.receive()
        return outputs if self.state == RUNNING else []  # Those of an engine that is gone.

    def source_of(self, output: Frame) -> SourceFrame | None:
        """Return the camera frame that `output` was made of; None if it was not kept."""
        return self._frames.source_of(output)

    def control_image(self) -> Image | None:
        """Return the newest images that ControlNets are shown, and ask for the next ones."""
        return self._frames.control_image()

    def has_read(self, parameters: Parameters) -> bool:
        """Return whether `notice` is about the prompt of `parameters`, and not one before it."""
        return _texts(parameters) <= self._read

    @property
    def has_run(self) -> bool:
        """Whether an engine process has ever been ready."""
        return self._running_since > 0

    @property
    def work(self) -> Work:
        """The frames that this engine process has run on, and the time that they took."""
        return self._frames.work

    @property
    def is_settled(self) -> bool:
        """Whether the engine runs as it will go on to: with the newest parameters that it has."""
        return self._frames.is_settled

    def succeed(self, before: "EngineProcess") -> None:
        """Go on air in the place of the engine `before`, with its counts."""
        self._candidate = False
        self.restarts += before.restarts
        self.prompt_encoding = before.prompt_encoding
        if before.applied_parameters[1] is self.applied_parameters[1]:
            self.applied_parameters = before.applied_parameters
        self._history.succeed(before._history)
        self._frames.count_on(before._frames)

    @property
    def taken(self) -> int:
        """Frames that engines have taken."""
        return self._frames.total(TAKEN)

    @property
    def dropped(self) -> int:
        """Frames that were overwritten by newer ones before a running engine took them."""
        return self._frames.total(DROPPED)

    @property
    def skipped(self) -> int:
        """Frames that the similarity filter skipped."""
        return self._frames.total(SKIPPED)

    def stop(self) -> None:
        """End the engine process, by force if need be, and free the shared memory."""
        self._stopping.set()
        self._thread.join()
        self.state = STOPPED
        self._frames.close()

    # ---- the supervising thread

    def _supervise(self) -> None:
        """Run engine processes one after the other until `stop`, or a fatal error."""
        # The engine inherits this: Ctrl-C and a closed terminal are for the broadcast process,
        # which ends it in order.
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        backoff = Backoff()
        while not self._stopping.is_set():
            started_at = time.monotonic()
            try:
                failure = self._run_once()
            except Exception as error:  # Such as no file descriptors, or no memory.
                reason = error.strerror if isinstance(error, OSError) else one_line(error)
                failure = f"the engine cannot be run: {reason}"
            if self._stopping.is_set():
                return
            was_running = self.state == RUNNING
            self.state, self.activity = LOST, "the engine is being restarted"
            if self._candidate:
                self._on_fatal_error(EngineError(str(failure)))
                if self._candidate:
                    return
                # It has taken over in this very moment, and is on air.
            if was_running:
                self._blame_values()
            if isinstance(failure, StreamcamError) and not was_running and not self.restarts:
                # It never ran: the user has to mend this, another try would not.
                self._on_fatal_error(failure)
                return
            healthy_s = time.monotonic() - started_at if was_running else 0.0
            pause = backoff.next(healthy_s=healthy_s)
            log.warning("%s; starting another engine in %.1f s", failure, pause)
            self._stopping.wait(pause)
            self.restarts += 1

    def _run_once(self) -> StreamcamError | str:
        """Run one engine process from its start to its end; return why it ended."""
        try:
            with temporary_folder() as folder:
                return self._run_in(folder)
        except StreamcamError as error:
            return error

    def _run_in(self, folder: Path) -> StreamcamError | str:
        """Run one engine process, with its temporary files in `folder`; return why it ended."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with ours:
            with theirs:
                broadcast = self.config.broadcast
                elsewhere = broadcast.engine is not None
                remote = cluster_link.serve if broadcast.cluster else link.serve
                process = context.Process(
                    target=remote if elsewhere else partial(serve, prepares=self._candidate),
                    args=(
                        *(self.config, *self._frames.rings, theirs),
                        *(() if elsewhere else (self._frames.control_ring,)),
                    ),
                    name="streamcam-engine",
                    daemon=True,
                )
                leave_deleted_folder()
                start_guarded(process.start, folder)
            try:
                return self._monitor(process, ours)
            finally:
                if self.config.broadcast.engine:
                    # The other machine hears at once that its engine is free.
                    process.terminate()
                    process.join(link.GOODBYE_S)
                process.kill()
                process.join(KILL_S)
                if process.exitcode is None:
                    # The kernel cannot end it: it waits for a device that does not answer.
                    log.warning("the engine process %s cannot be ended", process.pid)

    def _monitor(self, process: BaseProcess, connection: Connection) -> StreamcamError | str:
        """Handle messages and heartbeats until the engine process fails; return why."""
        self._reset_state()
        heartbeat, heartbeat_at = -1, time.monotonic()
        while not self._stopping.is_set():
            try:
                while connection.poll(POLL_S):
                    if failure := self._handle_message(connection.recv()):
                        return failure
            except (EOFError, OSError):
                process.join(1.0)
                return f"the engine has died ({_cause(process.exitcode)})"
            now = time.monotonic()
            if (newest := self._frames.heartbeat) != heartbeat:
                if self.state == RUNNING:
                    self._call_seconds.append(now - heartbeat_at)
                heartbeat, heartbeat_at = newest, now
                self._alive_at = now
            elif now - heartbeat_at > self._deadline():
                return f"the engine has hung for {now - heartbeat_at:.1f} s"
        return "stopped"

    def _reset_state(self) -> None:
        """Return to the state before an engine process says that it is ready."""
        self.state, self.activity = LOADING, f"loading {self.config.model}"
        self._accepts_any_size = False
        self._call_seconds = deque([0.0], maxlen=RECENT_CALLS)
        self._frames.begin_counts()

    def _deadline(self) -> float:
        """Return the seconds without a heartbeat after which the engine counts as hung."""
        if self.state != RUNNING:
            return max(LOADING_DEADLINE_S, self.config.broadcast.engine_deadline)
        slowest = max(self._call_seconds)
        return max(self.config.broadcast.engine_deadline, SLOWEST_CALLS * slowest)

    def _handle_message(self, message: EngineMessage) -> StreamcamError | str | None:
        """Act on a message of the engine process; return the failure that it reports, if any."""
        match message.kind:
            case "log":
                self._log(message.text)
                self.activity = message.text
            case "notice":
                self.notice, self._read = message.text, frozenset(message.texts)
            case "refused":
                instead = self._history.of_version(message.version)
                self._refuse(items_of_text(message.refused_text), message.text, instead)
            case "schedule":
                self.schedule = message.text
            case "encoded":
                self.prompt_encoding = message.encoding_s
            case "ready":
                self._call_seconds.append(message.warmup_s)
                self._accepts_any_size = message.accepts_any_size
                self.gpu = message.gpu
                self.state, self.activity = RUNNING, ""
                self._running_since = time.monotonic()
                self._log("the engine is running")
            case "moved":
                log.warning("%s", message.text)
                if message.exit_code:  # It was the engine that has failed, and not the network.
                    self._blame_values()
                self._reset_state()
                self.state, self.activity = LOST, "the engine is being replaced"
                self.restarts += 1
            case "lost":
                # The network is to blame, not the values.
                self._running_since = time.monotonic()
                return message.text
            case "failed":
                error = EngineError(message.text)
                error.exit_code = message.exit_code
                return error
            case "crashed":
                return f"the engine has crashed:\n{message.text}"
        return None

    def _log(self, text: str) -> None:
        log.log(logging.DEBUG if self._candidate else logging.INFO, text)

    def _blame_values(self) -> None:
        """Refuse values that the engine has crashed with twice."""
        if blamed := self._history.crashed(self._running_since, self._alive_at):
            shown = ", ".join(f"{name} {value!r}" for name, value in sorted(blamed, key=str))
            self._refuse(blamed, f"the engine has crashed twice with {shown}", self._history.worked)

    def _refuse(self, items: set[Item], why: str, instead: Parameters) -> None:
        if self._candidate:
            return  # The engine on air refuses it too.
        self.notice = f"{why[:MAX_NOTICE]}; going on with the values before, and refusing it"
        self._read = _texts(instead)
        log.error(self.notice)
        self._on_refused(items, why, instead)


def _texts(parameters: Parameters) -> frozenset[str]:
    return frozenset(text for text, weight in parameters.prompt if weight)


def _cause(exitcode: int | None) -> str:
    if exitcode is None:
        return "no exit status"
    return f"signal {-exitcode}" if exitcode < 0 else f"exit status {exitcode}"
