"""Frames between processes: the newest win, none is torn, nobody waits."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest

from streamcam.errors import EngineError
from streamcam.runtime.frame_ring import MAX_NOTE, SHARED, SPARE, FrameRing
from streamcam.types import Image

SHAPE = (48, 64, 3)


@pytest.fixture
def ring() -> Iterator[FrameRing]:
    ring = FrameRing(SHAPE)
    yield ring
    ring.close(unlink=True)


def picture(level: int, shape: tuple[int, int, int] = SHAPE) -> Image:
    return np.full(shape, level % 256, np.uint8)


def test_a_frame_arrives_with_all_that_goes_with_it(ring: FrameRing) -> None:
    ring.put(picture(7), 3, 12.5, version=9, note="naïve".encode())
    assert ring.wait(1)
    [message] = ring.take()
    assert (message.image == 7).all()
    assert (message.index, message.captured_at, message.version) == (3, 12.5, 9)
    assert message.note.decode() == "naïve"


def test_a_frame_is_taken_once(ring: FrameRing) -> None:
    ring.put(picture(1), 1, 0.0)
    assert len(ring.take()) == 1
    assert ring.take() == []
    assert not ring.wait(0)


def test_the_newest_frame_wins_when_the_reader_is_slow(ring: FrameRing) -> None:
    for index in range(100):
        ring.put(picture(index), index, 0.0)
    assert [message.index for message in ring.take()] == [99]
    assert ring.missed == 99


@pytest.mark.parametrize("capacity", [2, 4])
def test_a_reader_of_several_gets_the_newest_in_order(capacity: int) -> None:
    ring = FrameRing(SHAPE, capacity)
    for index in range(10):
        ring.put(picture(index), index, 0.0)
    taken = ring.take()
    ring.close(unlink=True)
    assert [message.index for message in taken] == list(range(10 - capacity, 10))
    assert [int(message.image[0, 0, 0]) for message in taken] == list(range(10 - capacity, 10))


def test_the_writer_never_waits_for_a_reader_that_has_stopped(ring: FrameRing) -> None:
    for index in range(300_000 // 8):
        ring.put(picture(index), index, 0.0)
    assert ring.take()[0].index == 300_000 // 8 - 1


def test_what_is_being_written_is_not_taken(ring: FrameRing) -> None:
    ring.put(picture(1), 1, 0.0)
    slot = 1 % (1 + SPARE)
    ring._meta[slot]["number"] = 0  # As a writer that died half-way leaves it.
    assert ring.take() == []
    ring.put(picture(2), 2, 0.0)
    assert [message.index for message in ring.take()] == [2]


def test_the_longest_note_fits(ring: FrameRing) -> None:
    ring.put(picture(0), 0, 0.0, note=b"x" * MAX_NOTE)
    assert len(ring.take()[0].note) == MAX_NOTE


def test_the_memory_is_gone_after_the_last_close() -> None:
    ring = FrameRing(SHAPE)
    name = ring._memory.name
    ring.close(unlink=True)
    with pytest.raises(FileNotFoundError):
        SharedMemory(name)


def write_for_ever(ring: FrameRing) -> None:
    """Write pictures of one colour each as fast as it goes."""
    index = 0
    while True:
        index += 1
        ring.put(picture(index, ring.shape), index, 0.0, note=str(index).encode())


def test_no_frame_is_ever_torn_and_another_writer_goes_on_where_one_was_killed() -> None:
    ring = FrameRing((360, 640, 3))
    context = multiprocessing.get_context("spawn")
    seen = 0
    try:
        for _ in range(2):
            process = context.Process(target=write_for_ever, args=(ring,), daemon=True)
            process.start()
            end, in_this_life = time.monotonic() + 60, 0
            while in_this_life < 150 and time.monotonic() < end:
                ring.wait(1)
                for message in ring.take():
                    assert (message.image == message.index % 256).all()
                    assert int(message.note) == message.index
                    in_this_life += 1
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            seen += in_this_life
        assert seen >= 300
    finally:
        ring.close(unlink=True)


def test_too_little_shared_memory_is_said_before_it_ends_the_process() -> None:
    if not SHARED.is_dir():
        pytest.skip("shared memory has no folder on this system")
    with pytest.raises(EngineError, match="shm-size"):
        FrameRing((2**20, 2**20, 3))


def test_pictures_of_several_sizes_take_turns(ring: FrameRing) -> None:
    for shape in ((48, 64, 3), (8, 10, 3), (96, 32, 3), (1, 1, 3)):
        ring.put(picture(9, shape), 1, 0.0)
        [message] = ring.take()
        assert message.image.shape == shape
        assert (message.image == 9).all()


def test_what_there_is_no_room_for_is_refused(ring: FrameRing) -> None:
    assert not ring.takes(picture(1, (49, 64, 3)))
    with pytest.raises(EngineError, match="no shared memory for pictures of 64x49"):
        ring.put(picture(1, (49, 64, 3)), 1, 0.0)
    with pytest.raises(EngineError, match="--device cuda"):
        ring.put(picture(1), 1, 0.0, note=b"x" * (MAX_NOTE + 1))
    assert ring.take() == []
