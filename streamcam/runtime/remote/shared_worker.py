"""Main function of an engine process that works for several clients with one model."""

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from queue import SimpleQueue

from streamcam.errors import StreamcamError
from streamcam.pipelines import LoadedStream, load_shared_streams
from streamcam.runtime.engine_message import EngineMessage, MessageSender
from streamcam.runtime.engine_worker import (
    IDENTITY,
    Heartbeat,
    Identity,
    begin_engine_process,
    on_air_settings,
    run_stream,
)
from streamcam.runtime.frame_ring import FrameRing
from streamcam.settings.config import Config

Link = tuple[FrameRing, FrameRing, Connection]
"""Frames of a client, outputs for it, and messages."""


def serve_shared(config: Config, links: Sequence[Link]) -> None:
    """Load the model once, then run it for all `links` until the first of them is closed.

    An error in one stream ends the process: what they share may not be sound any more.
    """
    begin_engine_process(links[0][2])
    sends = [MessageSender(connection) for _, _, connection in links]

    def send_all(message: EngineMessage) -> None:
        for send in sends:
            send(message)

    try:
        with ExitStack() as hearts:
            for _, outputs, _ in links:
                hearts.enter_context(Heartbeat(outputs))
            began = time.monotonic()
            streams = _open(config, lambda text: send_all(EngineMessage("log", text)), len(links))
            warmup_s = time.monotonic() - began
        send_all(EngineMessage("ready", warmup_s=warmup_s))
        raise _first_failure(config, links, streams, sends)
    except StreamcamError as error:
        send_all(EngineMessage("failed", str(error), error.exit_code))
    except Exception:
        send_all(EngineMessage("crashed", traceback.format_exc()))


def _open(config: Config, report: Callable[[str], None], count: int) -> Sequence[LoadedStream]:
    if config.model == IDENTITY:
        return [Identity() for _ in range(count)]
    return load_shared_streams(config.model_copy(update=on_air_settings(config)), report, count)


def _first_failure(
    config: Config,
    links: Sequence[Link],
    streams: Sequence[LoadedStream],
    sends: Sequence[MessageSender],
) -> Exception:
    """Run every stream in a thread of its own; return what ends the first of them."""
    failures: SimpleQueue[Exception] = SimpleQueue()

    def run(link: Link, stream: LoadedStream, send: MessageSender) -> None:
        try:
            run_stream(stream, config, link[0], link[1], send)
        except Exception as error:
            failures.put(error)

    for arguments in zip(links, streams, sends, strict=True):
        threading.Thread(target=run, args=arguments, daemon=True).start()
    return failures.get()
