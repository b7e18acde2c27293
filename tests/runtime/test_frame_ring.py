"""Frames between processes: the newest win, none is torn, nothing blocks."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest

from streamcam.errors import EngineError
from streamcam.runtime.frame_ring import MAX_METADATA, SHARED_MEMORY, SPARE_SLOTS, FrameRing
from streamcam.types import Image

SHAPE = (48, 64, 3)


@pytest.fixture
def ring() -> Iterator[FrameRing]:
    ring = FrameRing(SHAPE)
    yield ring
    ring.close(unlink=True)


def image_of(level: int, shape: tuple[int, int, int] = SHAPE) -> Image:
    return np.full(shape, level % 256, np.uint8)


def test_a_frame_arrives_with_its_index_time_version_and_metadata(ring: FrameRing) -> None:
    ring.put(image_of(7), 3, 12.5, version=9, metadata="naïve".encode())
    assert ring.wait(1)
    [entry] = ring.take()
    assert (entry.image == 7).all()
    assert (entry.index, entry.captured_at, entry.version) == (3, 12.5, 9)
    assert entry.metadata.decode() == "naïve"


def test_a_frame_is_taken_once(ring: FrameRing) -> None:
    ring.put(image_of(1), 1, 0.0)
    assert len(ring.take()) == 1
    assert ring.take() == []
    assert not ring.wait(0)


def test_the_newest_frame_wins_when_the_reader_is_slow(ring: FrameRing) -> None:
    for index in range(100):
        ring.put(image_of(index), index, 0.0)
    assert [entry.index for entry in ring.take()] == [99]
    assert ring.missed == 99


@pytest.mark.parametrize("capacity", [2, 4])
def test_a_reader_of_several_gets_the_newest_in_order(capacity: int) -> None:
    ring = FrameRing(SHAPE, capacity)
    for index in range(10):
        ring.put(image_of(index), index, 0.0)
    taken = ring.take()
    ring.close(unlink=True)
    assert [entry.index for entry in taken] == list(range(10 - capacity, 10))
    assert [int(entry.image[0, 0, 0]) for entry in taken] == list(range(10 - capacity, 10))


def test_the_writer_never_waits_for_a_reader_that_has_stopped(ring: FrameRing) -> None:
    for index in range(300_000 // 8):
        ring.put(image_of(index), index, 0.0)
    assert ring.take()[0].index == 300_000 // 8 - 1


def test_a_half_written_frame_is_not_taken(ring: FrameRing) -> None:
    ring.put(image_of(1), 1, 0.0)
    slot = 1 % (1 + SPARE_SLOTS)
    ring._headers[slot]["number"] = 0  # As a writer that died half-way leaves it.
    assert ring.take() == []
    ring.put(image_of(2), 2, 0.0)
    assert [entry.index for entry in ring.take()] == [2]


def test_the_longest_metadata_fits(ring: FrameRing) -> None:
    ring.put(image_of(0), 0, 0.0, metadata=b"x" * MAX_METADATA)
    assert len(ring.take()[0].metadata) == MAX_METADATA


def test_the_memory_is_deleted_by_the_last_close() -> None:
    ring = FrameRing(SHAPE)
    name = ring._memory.name
    ring.close(unlink=True)
    with pytest.raises(FileNotFoundError):
        SharedMemory(name)


def write_forever(ring: FrameRing) -> None:
    """Write frames of one colour each as fast as possible."""
    index = 0
    while True:
        index += 1
        ring.put(image_of(index, ring.shape), index, 0.0, metadata=str(index).encode())


def test_no_frame_is_torn_and_another_writer_continues_after_one_was_killed() -> None:
    ring = FrameRing((360, 640, 3))
    context = multiprocessing.get_context("spawn")
    seen = 0
    try:
        for _ in range(2):
            process = context.Process(target=write_forever, args=(ring,), daemon=True)
            process.start()
            end, of_this_writer = time.monotonic() + 60, 0
            while of_this_writer < 150 and time.monotonic() < end:
                ring.wait(1)
                for entry in ring.take():
                    assert (entry.image == entry.index % 256).all()
                    assert int(entry.metadata) == entry.index
                    of_this_writer += 1
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            seen += of_this_writer
        assert seen >= 300
    finally:
        ring.close(unlink=True)


def test_too_little_shared_memory_is_an_error_with_the_remedy() -> None:
    if not SHARED_MEMORY.is_dir():
        pytest.skip("shared memory has no folder on this system")
    with pytest.raises(EngineError, match="shm-size"):
        FrameRing((2**20, 2**20, 3))


def test_frames_of_several_sizes_can_alternate(ring: FrameRing) -> None:
    for shape in ((48, 64, 3), (8, 10, 3), (96, 32, 3), (1, 1, 3)):
        ring.put(image_of(9, shape), 1, 0.0)
        [entry] = ring.take()
        assert entry.image.shape == shape
        assert (entry.image == 9).all()


def test_a_frame_larger_than_a_slot_is_refused(ring: FrameRing) -> None:
    assert not ring.has_room_for(image_of(1, (49, 64, 3)))
    with pytest.raises(EngineError, match="no shared memory for frames of 64x49"):
        ring.put(image_of(1, (49, 64, 3)), 1, 0.0)
    with pytest.raises(EngineError, match="--device cuda"):
        ring.put(image_of(1), 1, 0.0, metadata=b"x" * (MAX_METADATA + 1))
    assert ring.take() == []
