"""Main function of the engine process: owns torch and the GPU, runs the model on its main thread.

The broadcast process may kill it at any moment; it ends by itself when that process is gone.
"""

import os
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple, NoReturn

from streamcam.errors import PromptError, StreamcamError
from streamcam.pipelines import (
    ControlledStream,
    LoadedStream,
    OverlappedStream,
    QueuedStream,
    load_stream,
)
from streamcam.runtime.engine_preparation import prepare
from streamcam.runtime.frame_ring import FrameRing
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.system.child_process import end_with_parent, prefer_as_oom_victim
from streamcam.system.cores import available_cores
from streamcam.system.standard_streams import protect_output
from streamcam.types import Frame

HEARTBEAT, TAKEN, DROPPED, SKIPPED, NEWEST_TAKEN, BUSY_US, SETTLED = 1, 2, 3, 4, 5, 6, 7
"""Counters of the output ring: signs of life, frames taken, dropped and skipped, the index of the
newest frame taken, the time that frames took in microseconds, and whether the stream is settled."""

CONTROL_WANTED = 1
"""Counter of the ring of control images: so many more are wanted."""
CONTROL_AT_ONCE = 30
"""Control images that are sent after each request for one."""

IDENTITY = "identity"
NICENESS = 5
OOM_SCORE = 500
"""Of 1000: where memory runs out, the kernel ends this process and not the broadcast's."""
IDLE_S = 0.1
SCHEDULE_INTERVAL_S = 0.5
LEAST_ENCODING_S = 0.005
"""Seconds that are worth a report; a prompt that was encoded before takes less."""


class EngineMessage(NamedTuple):
    """Message from the engine process to the broadcast process."""

    kind: Literal[
        "log",
        "notice",
        "schedule",
        "encoded",
        "ready",
        "refused",
        "failed",
        "crashed",
        "lost",
        "moved",
    ]
    text: str = ""
    """The log line, the notice, the schedule in one line, the error, or the traceback."""
    exit_code: int = 0
    """Of an error: what the command exits with; 0 where the network is to blame."""
    warmup_s: float = 0.0
    """Seconds that the first calls of the model took."""
    encoding_s: float = 0.0
    """Seconds by which a new prompt made the call longer that took it up."""
    accepts_any_size: bool = False
    """Whether frames are to be sent unresized: the engine's device fits them."""
    gpu: str = ""
    """UUID of the NVIDIA GPU that the engine runs on."""
    refused_text: str = ""
    """The prompt that the model cannot encode."""
    version: int = 0
    """Version of the parameters that the engine runs on with instead."""
    texts: tuple[str, ...] = ()
    """The prompts that a notice is about: those that the model has read."""


class MessageSender:
    """Sends messages from any thread: a long one goes out in parts, which must not mix."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, message: EngineMessage) -> None:
        """Send `message`; raise OSError where the broadcast process is gone."""
        with self._lock:
            self._connection.send(message)


def serve(
    config: Config,
    frames: FrameRing,
    outputs: FrameRing,
    connection: Connection,
    control: FrameRing | None = None,
    *,
    prepares: bool = False,
) -> None:
    """Load the model, then run it on `frames` into `outputs` until `connection` is closed.

    Args:
        config: what to run.
        frames: from the broadcast process.
        outputs: to it.
        connection: for messages to it.
        control: takes the images that ControlNets are shown, for the preview.
        prepares: another engine is on air, which must not be slowed down: have all engines built
            at the lowest priority before anything is loaded.
    """
    begin_engine_process(connection)
    send = MessageSender(connection)
    try:
        with Heartbeat(outputs):
            if prepares and config.model != IDENTITY:
                config = config.model_copy(update={"engine_wait": True})
                prepare(config, lambda text: send(EngineMessage("log", text)))
            stream, warmup_s = open_stream(config, lambda text: send(EngineMessage("log", text)))
        ready = EngineMessage(
            "ready",
            warmup_s=warmup_s,
            accepts_any_size=stream.accepts_any_size,
            gpu=_gpu(config),
        )
        send(ready)
        run_stream(stream, config, frames, outputs, send, control)
    except StreamcamError as error:
        send(EngineMessage("failed", str(error), error.exit_code))
    except Exception:
        send(EngineMessage("crashed", traceback.format_exc()))


def begin_engine_process(connection: Connection) -> None:
    """Make this process one that ends with `connection`, and that gives way to the broadcast."""
    begin_child_process(connection)
    prefer_as_oom_victim(OOM_SCORE)
    if hasattr(os, "nice"):
        os.nice(NICENESS)  # On a busy CPU the process that viewers depend on goes first.


def begin_child_process(connection: Connection) -> None:
    """Make this process one that ends with `connection`, and with nothing else of the terminal."""
    protect_output()
    # Those for all processes of a terminal are for the broadcast process, which ends this one.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(connection.recv, status=0)


def open_stream(config: Config, report: Callable[[str], None]) -> tuple[LoadedStream, float]:
    """Return the stream of `config`, loaded and warmed up, and the seconds that warming up took."""
    if config.model == IDENTITY:
        return Identity(), 0.0
    on_air = on_air_settings(config)
    stream = load_stream(config.model_copy(update=on_air), report, live=True)
    started_at = time.monotonic()
    stream.warm_up()
    return stream, time.monotonic() - started_at


def on_air_settings(config: Config) -> dict[str, Any]:
    """Return the settings that an engine on air has, whatever `config` says."""
    # Never cold on air: the first call is slow, and shows how long a frame may take.
    # A core is left to capture and output: what they would take from the model, it loses anyway.
    cores = available_cores()
    return {
        "warmup": max(1, config.warmup),
        "threads": config.threads or max(1, cores - 1),
        "engine_wait": bool(config.engine_wait),
    }


def run_stream(
    stream: LoadedStream,
    config: Config,
    frames: FrameRing,
    outputs: FrameRing,
    send: Callable[[EngineMessage], None],
    control: FrameRing | None = None,
) -> NoReturn:
    """Run `stream` on the newest of `frames`, for ever; write what it gives to `outputs`.

    The images that its ControlNets are shown go into `control`, while they are wanted.
    """
    parameters, version, reported_at = config.live, 0, 0.0
    runner = StreamRunner(stream, parameters, send)
    queued = stream if isinstance(stream, QueuedStream) else None
    overlapped = stream if isinstance(stream, OverlappedStream) else None
    controlled = stream if control is not None and isinstance(stream, ControlledStream) else None
    frames.take()  # What came while the model was loading is old.
    frames.missed = 0
    while True:
        outputs.counters[HEARTBEAT] += 1
        if overlapped and not frames.wait(0):
            with _measured(outputs):
                _put(outputs, overlapped.finish(), version)
        if not frames.wait(IDLE_S):
            continue
        received = frames.take()
        if received:
            outputs.counters[NEWEST_TAKEN] = received[-1].index
        for entry in received:
            if entry.version != version:
                parameters = Parameters.model_validate_json(entry.metadata)
                version = entry.version
            frame = Frame(entry.image, entry.index, entry.captured_at)
            if queued and entry is not received[-1]:
                queued.put(frame)  # It chooses among all that have come.
                continue
            with _measured(outputs):
                _put(outputs, runner.run(frame, parameters, version), version)
                if overlapped:
                    overlapped.wait()
            outputs.counters[SETTLED] = stream.is_settled
            if controlled and control is not None and control.counters[CONTROL_WANTED] > 0:
                control.counters[CONTROL_WANTED] -= 1
                _put_control(control, controlled, frame)
            outputs.counters[HEARTBEAT] += 1
            outputs.counters[TAKEN] += len(received) if queued else 1
            outputs.counters[SKIPPED] = stream.counts["skipped"]
            outputs.counters[DROPPED] = frames.missed + stream.counts["dropped"]
        if queued and time.monotonic() - reported_at > SCHEDULE_INTERVAL_S:
            reported_at = time.monotonic()
            send(EngineMessage("schedule", queued.delivery_summary))


def _gpu(config: Config) -> str:
    """Return the UUID of the NVIDIA GPU that the stream of `config` runs on; "" for none."""
    if config.model == IDENTITY:
        return ""
    from streamcam.engines.device_info import gpu_uuid
    from streamcam.engines.placement import pick_device

    return gpu_uuid(pick_device(config.device))


class StreamRunner:
    """Runs a stream with the newest parameters that it accepts, and reports those that it refuses.

    Args:
        stream: raises PromptError over parameters that it refuses, and has changed nothing then.
        parameters: the first ones, that the stream has been warmed up with.
        send: takes messages to the broadcast process.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        stream: LoadedStream,
        parameters: Parameters,
        send: Callable[[EngineMessage], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._stream, self._send = stream, send
        self._parameters, self._version = parameters, 0
        self._refused: int | None = None
        self._noticed = EngineMessage("notice")
        self._usual_s = 0.0

    def run(self, frame: Frame, parameters: Parameters, version: int) -> Sequence[Frame]:
        """Return the outputs for `frame`, with `parameters` unless they are refused."""
        if version != self._refused:
            began, new_texts = self._clock(), _texts(parameters) - _texts(self._parameters)
            try:
                outputs = self._stream(frame, parameters)
            except PromptError as error:
                self._refused = version
                self._send(
                    EngineMessage(
                        "refused", str(error), refused_text=error.text, version=self._version
                    )
                )
            else:
                self._parameters, self._version = parameters, version
                self._report_encoding(self._clock() - began, new_texts)
                self._report_notice()
                return outputs
        return self._stream(frame, self._parameters)

    def _report_encoding(self, took_s: float, new_texts: set[str]) -> None:
        """Report by how much a call with new prompts took longer than the one before it."""
        longer_s = took_s - self._usual_s
        if not new_texts:
            self._usual_s = took_s
        elif longer_s >= LEAST_ENCODING_S:
            self._send(EngineMessage("encoded", encoding_s=longer_s))

    def _report_notice(self) -> None:
        texts = tuple(sorted(_texts(self._parameters)))
        notice = EngineMessage("notice", self._stream.notice, texts=texts)
        if notice != self._noticed:
            self._noticed = notice
            self._send(notice)


def _texts(parameters: Parameters) -> set[str]:
    """Return the texts of the prompt that have a weight."""
    return {text for text, weight in parameters.prompt if weight}


@contextmanager
def _measured(outputs: FrameRing) -> Iterator[None]:
    """Count the time of the block as time that frames take."""
    began = time.monotonic()
    yield
    outputs.counters[BUSY_US] += round((time.monotonic() - began) * 1e6)


def _put(outputs: FrameRing, frames: Sequence[Frame], version: int) -> None:
    for frame in frames:
        outputs.put(
            frame.image,
            frame.index,
            frame.captured_at,
            version=version,
            metadata=b"" if frame.packed is None else frame.packed,
            made_of=frame.made_of,
        )


def _put_control(control: FrameRing, stream: ControlledStream, frame: Frame) -> None:
    if (image := stream.control_image()) is not None:
        control.put(image, frame.index, frame.captured_at)


class Heartbeat:
    """Show signs of life from a thread, while the main thread is busy loading."""

    def __init__(self, outputs: FrameRing) -> None:
        self._outputs = outputs
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(IDLE_S):
            self._outputs.counters[HEARTBEAT] += 1


class Identity:
    """Stream that returns every frame as it is: to measure everything around the model."""

    chunk = 1
    accepts_any_size = False
    is_settled = True
    notice = ""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def warm_up(self) -> None:
        """Do nothing: the first call is as fast as all others."""

    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:  # noqa: ARG002
        return [frame]

    def drain(self, parameters: Parameters) -> list[Frame]:  # noqa: ARG002
        return []
