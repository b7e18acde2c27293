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
from typing import Any, NoReturn

from streamcam.errors import StreamcamError
from streamcam.pipelines import (
    ControlledStream,
    LoadedStream,
    OverlappedStream,
    QueuedStream,
    load_stream,
)
from streamcam.runtime.engine_message import EngineMessage, MessageSender
from streamcam.runtime.engine_preparation import prepare
from streamcam.runtime.frame_ring import FrameRing
from streamcam.runtime.stream_runner import StreamRunner
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
