"""The engine process: owns torch and the accelerator, and runs the model on its main thread.

Whoever started it may kill it at any moment; it ends by itself when that process is gone.
"""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple, NoReturn

from streamcam.child_process import end_with_parent
from streamcam.errors import StreamcamError
from streamcam.pipelines import QueuedStream, load_stream
from streamcam.runtime.frame_ring import FrameRing
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame, Stream

BEAT, TAKEN, DROPPED, SKIPPED = 1, 2, 3, 4
"""Cells of the ring of pictures: signs of life, and frames taken, passed over and skipped."""

IDENTITY = "identity"
IDLE_S = 0.1
TELL_EVERY_S = 0.5


class EngineMessage(NamedTuple):
    """What the engine tells: a line for the log, how its schedule goes, that it is ready, or why it
    has failed."""

    kind: str
    text: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    """What a first call of the model took."""
    whole: bool = False
    """Whether frames are to come as they are: the engine's device fits them."""


def serve(config: Config, frames: FrameRing, pictures: FrameRing, line: Connection) -> None:
    """Load the model, then turn `frames` into `pictures` until `line` is closed or for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(line.recv, status=0)
    if hasattr(os, "nice"):
        os.nice(5)  # On a busy processor the process that viewers depend on goes first.
    try:
        with _Beating(pictures):
            stream, seconds = open_stream(
                config, lambda text: line.send(EngineMessage("line", text))
            )
        whole = getattr(stream, "takes_whole", False)
        line.send(EngineMessage("ready", seconds=seconds, whole=whole))
        _run(stream, config, frames, pictures, line)
    except StreamcamError as error:
        line.send(EngineMessage("failed", str(error), error.exit_code))
    except Exception:
        line.send(EngineMessage("crashed", traceback.format_exc()))


def open_stream(config: Config, report: Callable[[str], None]) -> tuple[Stream, float]:
    """Return the Stream that `config` asks for, loaded and warm, and the seconds of warming up."""
    if config.model == IDENTITY:
        return Identity(), 0.0
    # Never cold on air: the first call is slow, and says how long a frame may take.
    # A core is left to capture and output: what they would take from the model, it loses anyway.
    cores = os.cpu_count() or 1
    live = {
        "warmup": max(1, config.warmup),
        "threads": config.threads or max(1, cores - 1),
        "engine_wait": bool(config.engine_wait),
    }
    config = config.model_copy(update=live)
    stream = load_stream(config, report, live=True)
    began = time.monotonic()
    stream.warm_up()
    return stream, time.monotonic() - began


def _run(
    stream: Stream, config: Config, frames: FrameRing, pictures: FrameRing, line: Connection
) -> NoReturn:
    parameters, version, told_at = config.live, 0, 0.0
    queued = stream if isinstance(stream, QueuedStream) else None
    counts = getattr(stream, "counts", {})
    frames.take()  # What came while the model was loading is old.
    frames.missed = 0
    while True:
        pictures.cells[BEAT] += 1
        if not frames.wait(IDLE_S):
            continue
        messages = frames.take()
        for message in messages:
            if message.version != version:
                parameters = Parameters.model_validate_json(message.note)
                version = message.version
            frame = Frame(message.image, message.index, message.captured_at)
            if queued and message is not messages[-1]:
                queued.put(frame)  # It chooses among all that have come.
                continue
            for picture in stream(frame, parameters):
                note = b"" if picture.packed is None else picture.packed
                pictures.put(
                    picture.image, picture.index, picture.captured_at, version=version, note=note
                )
            pictures.cells[BEAT] += 1
            pictures.cells[TAKEN] += len(messages) if queued else 1
            pictures.cells[SKIPPED] = counts.get("skipped", 0)
            pictures.cells[DROPPED] = frames.missed + counts.get("dropped", 0)
        if queued and time.monotonic() - told_at > TELL_EVERY_S:
            told_at = time.monotonic()
            line.send(EngineMessage("schedule", queued.delivery_summary))


class _Beating:
    """Shows signs of life from a thread, for while the main thread is busy loading."""

    def __init__(self, pictures: FrameRing) -> None:
        self._pictures = pictures
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(IDLE_S):
            self._pictures.cells[BEAT] += 1


class Identity:
    """The Stream that gives back every frame: to measure what the house itself costs."""

    chunk = 1

    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:  # noqa: ARG002
        return [frame]

    def drain(self, parameters: Parameters) -> list[Frame]:  # noqa: ARG002
        return []
