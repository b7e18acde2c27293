"""Process that stands in for the engine process, and passes everything on to another machine.

To the broadcast it is an engine: the same two rings of frames, the same messages, the same signs
of life, which are those of the real engine. So a lost network is a lost engine, and whatever
happens then (`on_engine_loss`, another try, and another) happens here too.
"""

import asyncio
import hashlib
import signal
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from math import isfinite
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

from streamcam.errors import EngineError, StreamcamError, printable
from streamcam.runtime.engine_message import EngineMessage, MessageSender
from streamcam.runtime.engine_worker import HEARTBEAT, begin_child_process
from streamcam.runtime.frame_ring import FrameRing
from streamcam.runtime.remote.engine_connection import CLOSE_S, Hello, LinkLostError, connected
from streamcam.runtime.remote.rate_limit import RateLimit
from streamcam.runtime.remote.wire import (
    COUNTERS,
    Message,
    WireError,
    WireFrame,
    compressed,
    decompressed,
    frame_bytes,
    parse_frame,
)
from streamcam.settings.config import Config
from streamcam.settings.value_types import MAX_PROMPT_BYTES, MAX_PROMPTS

if TYPE_CHECKING:
    from streamcam.runtime.remote.peer import Peer

GOODBYE_S = 0.4
"""Seconds in which a link ends in order."""
WATCH_S = 0.02
MOST_ENGINE_MESSAGES = 200
"""Messages of the engine in a second: more is a flood, which the broadcast must not see."""
LONGEST_WARMUP_S = 3600.0
RELAYED = ("log", "notice", "schedule", "encoded", "ready", "refused", "failed", "crashed")
IDLE_S = 0.1


def serve(config: Config, frames: FrameRing, outputs: FrameRing, connection: Connection) -> None:
    """Run until `connection` is closed, as `engine_worker.serve` does, on the engine elsewhere."""
    begin_child_process(connection)
    send = MessageSender(connection)
    link = Link(config, frames, outputs, send)

    async def run() -> None:
        end_in_order(lambda: link.on_end("stopped"))
        broadcast = config.broadcast
        assert broadcast.engine
        await link.run(broadcast.engine, broadcast.token or "", client_name(frames))

    with closing(frames), closing(outputs):
        run_reporting(run(), send)


def end_in_order(stop: Callable[[], None]) -> None:
    """Call `stop` when this process is to end; to be called in its event loop."""
    with suppress(NotImplementedError):  # Windows ends the process at once.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)


def run_reporting(link: Coroutine[Any, Any, None], send: Callable[[EngineMessage], None]) -> None:
    """Run `link` to its end, and report what it has ended with."""
    try:
        asyncio.run(link)
    except LinkLostError as error:
        send(EngineMessage("lost", str(error)))
    except StreamcamError as error:
        send(EngineMessage("failed", str(error), error.exit_code))
    except Exception:
        send(EngineMessage("crashed", traceback.format_exc()))


def client_name(frames: FrameRing) -> str:
    """Return a name that every link for these frames has, and no other."""
    name = f"{socket.gethostname()} {uuid.getnode()} {frames.name}"
    return hashlib.sha256(name.encode()).hexdigest()


class Link:
    """Passes frames, outputs, messages and signs of life between the rings and the network.

    Args:
        config: of the broadcast.
        frames: to the engine.
        outputs: from it.
        send: takes messages to the broadcast process.
        deadline_s: seconds without a sign of life after which the other side counts as lost;
            by default those of the setting `engine_deadline`.
        on_standbys: takes the other engines that the server names; without it none may come.
    """

    def __init__(
        self,
        config: Config,
        frames: FrameRing,
        outputs: FrameRing,
        send: Callable[[EngineMessage], None],
        *,
        deadline_s: float | None = None,
        on_standbys: Callable[[Any], None] | None = None,
    ) -> None:
        self._config = config
        self._frames, self._outputs = frames, outputs
        self._send = send
        self._deadline_s = deadline_s or config.broadcast.engine_deadline
        self._on_standbys = on_standbys
        self._size = (config.width, config.height)
        self._engine = ""
        self._heard_at = time.monotonic()
        self._ended: Exception | None = None
        self._newest_sent = -1
        self._messages = RateLimit(MOST_ENGINE_MESSAGES, "messages of the engine")

    async def run(
        self, engine: str, token: str, name: str, *, connect_s: float | None = None
    ) -> NoReturn:
        """Connect to ``HOST:PORT`` as `name`, and pass everything on until that ends; raise why.

        Raises:
            LinkLostError: nobody answers, or nobody answers any more.
            EngineError: the other side refuses.
        """
        self._engine, self._ended = engine, None
        self._send(EngineMessage("log", f"connecting to the engine at {engine}"))
        lossless = self._config.broadcast.engine_lossless
        async with connected(
            engine, token, "frames", name, lossless=lossless, connect_s=connect_s
        ) as (peer, _):
            hello, peer.listener, peer.takes_frames = peer.listener, self, True
            self._heard_at = time.monotonic()
            if isinstance(hello, Hello):
                for message in hello.early:
                    self.on_message(message)
            loop, done = asyncio.get_running_loop(), threading.Event()
            arguments = (peer, loop, done)
            thread = threading.Thread(target=self._send_frames, args=arguments, daemon=True)
            thread.start()
            try:
                await self._watch()
            finally:
                done.set()
                peer.listener = None  # Its end comes later, maybe while another one runs.

    async def _watch(self) -> NoReturn:
        while True:
            await asyncio.sleep(WATCH_S)
            if self._ended:
                raise self._ended
            silent = time.monotonic() - self._heard_at
            if silent > self._deadline_s - CLOSE_S - 2 * WATCH_S:
                raise LinkLostError(
                    f"no answer from the engine at {self._engine} for {silent:.1f} s"
                )

    def _send_frames(
        self, peer: "Peer", loop: asyncio.AbstractEventLoop, done: threading.Event
    ) -> None:
        """Send the newest frames for as long as a few at most are in flight."""
        from streamcam.runtime.remote.peer import soon

        try:
            self._frames.take()  # What came before is old.
            while not done.is_set():
                if not self._frames.wait(IDLE_S) or not peer.wait_for_room(IDLE_S):
                    continue
                for entry in self._frames.take():
                    index, at, version = entry.index, entry.captured_at, entry.version
                    self._newest_sent = max(self._newest_sent, index)
                    image = compressed(entry.image, lossless=self._config.broadcast.engine_lossless)
                    frame = WireFrame(index, index, at, version, entry.metadata, image)
                    soon(loop, peer.send_frame, frame_bytes(frame))
        except Exception as error:  # The watch ends the process over it.
            self._ended = error

    # ---- what comes in

    def on_message(self, message: Message) -> None:
        self._heard_at = time.monotonic()
        match message["kind"]:
            case "beat":
                self._take_counts(message.get("counts"))
            case "engine":
                self._relay(message)
            case "refused":
                self._ended = EngineError(str(message.get("text", ""))[:1000])
            case "standbys" if self._on_standbys:
                self._on_standbys(message.get("engines"))
            case _:
                raise WireError("a message came that nobody sends")

    def on_frame(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        frame = parse_frame(data)
        if not 0 <= frame.made_of <= frame.index <= self._newest_sent:
            raise WireError("an output came of a frame that was never sent")
        if not isfinite(frame.captured_at):
            raise WireError("an output has no time")
        image = decompressed(frame.image, self._size)
        self._outputs.put(
            image, frame.index, frame.captured_at, version=frame.version, made_of=frame.made_of
        )

    def on_end(self, reason: str) -> None:
        self._ended = self._ended or LinkLostError(
            f"the connection to {self._engine} has ended{reason and f' ({reason})'}"
        )

    def _take_counts(self, counts: Any) -> None:
        if not isinstance(counts, list) or len(counts) != COUNTERS:
            raise WireError("a sign of life has no counts")
        *numbers, newest_taken = [max(0, int(count)) for count in counts]
        # Of the client before this one, until a frame of this one has been taken.
        numbers.append(min(newest_taken, self._newest_sent))
        for offset, number in enumerate(numbers):
            self._outputs.counters[HEARTBEAT + offset] = number

    def _relay(self, message: Message) -> None:
        """Pass a message of the engine on to the broadcast."""
        self._messages.count(time.monotonic())
        if message.get("type") not in RELAYED:
            raise WireError("the engine says what no engine says")
        warmup_s = float(message.get("warmup_s", 0.0))
        if not 0 <= warmup_s <= LONGEST_WARMUP_S:
            raise WireError("the engine says how long it took, which cannot be")
        exit_code = int(message.get("exit_code", 0))
        self._send(
            EngineMessage(
                message["type"],
                text=printable(str(message.get("text", ""))[:20_000], keep="\n"),
                exit_code=exit_code if exit_code in (1, 2) else 1,
                warmup_s=warmup_s,
                encoding_s=float(message.get("encoding_s", 0.0)),
                refused_text=str(message.get("refused_text", ""))[:2000],
                version=int(message.get("version", 0)),
                texts=_texts_in(message),
            )
        )


def _texts_in(message: Message) -> tuple[str, ...]:
    """Return the prompts that a message of the engine is about, while one fades into another."""
    texts = message.get("texts", [])
    if not isinstance(texts, list) or len(texts) > 2 * MAX_PROMPTS:
        raise WireError("the engine says what it has read, which cannot be")
    return tuple(str(text)[:MAX_PROMPT_BYTES] for text in texts)
