"""The engine process and its messages, as the broadcast process sees them."""

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from pathlib import Path

import pytest

from streamcam.runtime.engine_message import EngineMessage, MessageSender
from streamcam.runtime.engine_worker import serve
from streamcam.runtime.frame_ring import FrameRing
from streamcam.settings.config_layers import build_config
from tests.runtime.broadcast_helpers import SMALL

LONG = 300_000
"""Characters: more than is sent in one piece, and than a pipe holds."""


def test_long_messages_of_several_threads_do_not_mix() -> None:
    ours, theirs = Pipe()
    send = MessageSender(theirs)
    began = threading.Barrier(3)

    def send_all(letter: str) -> None:
        began.wait(10)
        for _ in range(20):
            send(EngineMessage("log", letter * LONG))

    # The ends are closed first: where messages mix, both sides may wait for ever.
    with ThreadPoolExecutor(4) as pool, ours, theirs:
        senders = [pool.submit(send_all, letter) for letter in "abc"]
        receiver = pool.submit(lambda: [ours.recv().text for _ in range(60)])
        received = receiver.result(30)
        for sender in senders:
            sender.result()
    assert sorted(received) == [letter * LONG for letter in "abc" for _ in range(20)]


@pytest.mark.skipif(
    not Path("/proc/self/oom_score_adj").exists(), reason="only Linux chooses by a score"
)
def test_the_kernel_takes_memory_from_the_engine_and_not_from_the_broadcast() -> None:
    frames, outputs = FrameRing((48, 64, 3)), FrameRing((48, 64, 3))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    config = build_config([SMALL])
    process = context.Process(target=serve, args=(config, frames, outputs, theirs), daemon=True)
    process.start()
    try:
        assert ours.recv().kind == "ready"
        assert oom_score(process.pid) >= oom_score(os.getpid()) + 250
    finally:
        process.kill()
        process.join()
        for ring in (frames, outputs):
            ring.close(unlink=True)


def oom_score(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
