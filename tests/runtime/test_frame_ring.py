"""Frames between processes: the newest win, none is torn, nothing blocks."""

import errno
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from multiprocessing.shared_memory import SharedMemory
from threading import Event

import numpy as np
import pytest

from streamcam.errors import EngineError
from streamcam.runtime import reserved_memory
from streamcam.runtime.frame_ring import MAX_METADATA, SPARE_SLOTS, FrameRing
from streamcam.runtime.reserved_memory import SHARED_MEMORY
from streamcam.types import Image
from tests.support.shared_memory import shared_memory

SHAPE = (48, 64, 3)

needs_folder = pytest.mark.skipif(
    not SHARED_MEMORY.is_dir(), reason="shared memory has no folder on this system"
)


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
    assert entry.made_of == 3


def test_an_image_that_was_made_of_another_frame_says_so(ring: FrameRing) -> None:
    ring.put(image_of(7), 3, 12.5, made_of=1)
    assert [(entry.index, entry.made_of) for entry in ring.take()] == [(3, 1)]


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
    assert ring._slots is not None
    ring._slots.headers[slot]["number"] = 0  # As a writer that died half-way leaves it.
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


@needs_folder
def test_memory_that_the_system_has_deleted_is_no_error_at_the_end() -> None:
    ring = FrameRing(SHAPE)
    (SHARED_MEMORY / ring._memory.name).unlink()
    ring.put(image_of(7), 1, 0.0)
    assert [entry.index for entry in ring.take()] == [1]
    ring.close(unlink=True)


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


@needs_folder
def test_too_little_shared_memory_is_an_error_with_the_remedy() -> None:
    with pytest.raises(EngineError, match="shm-size"):
        FrameRing((2**20, 2**20, 3))


@needs_folder
def test_the_memory_is_reserved_before_anything_is_written_to_it(ring: FrameRing) -> None:
    # Blocks that are missing when they are written to kill the process, if there are none left.
    status = (SHARED_MEMORY / ring._memory.name).stat()
    assert status.st_blocks * 512 >= status.st_size


@needs_folder
def test_memory_that_another_program_takes_first_is_an_error_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    created = set()

    def fill_up(*_: int) -> None:
        created.update(shared_memory(os.getpid()) - before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = shared_memory(os.getpid())
    monkeypatch.setattr(os, "posix_fallocate", fill_up)
    with pytest.raises(EngineError, match="shm-size"):
        FrameRing(SHAPE)
    assert created
    assert not [path for path in created if path.exists()]


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOENT, errno.EACCES])
def test_shared_memory_that_cannot_be_created_is_an_error_with_the_remedy(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> SharedMemory:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(reserved_memory, "SharedMemory", refuse)
    with pytest.raises(EngineError, match=f"{os.strerror(number)}; .* must be there and writable"):
        FrameRing(SHAPE)


def test_a_ring_may_be_closed_while_other_threads_use_it() -> None:
    for _ in range(20):
        ring = FrameRing(SHAPE)
        began, stopping = Event(), Event()

        def write(ring: FrameRing = ring, began: Event = began, stop: Event = stopping) -> None:
            for index in count():
                ring.put(image_of(index), index, 0.0, metadata=b"x" * 1000)
                began.set()
                if stop.is_set():
                    return

        def read(ring: FrameRing = ring, stop: Event = stopping) -> int:
            taken = 0
            while not stop.is_set():
                taken += len(ring.take())
            return taken

        with ThreadPoolExecutor(2) as pool:
            writing, reading = pool.submit(write), pool.submit(read)
            assert began.wait(10)
            ring.close(unlink=True)
            stopping.set()
            writing.result()
            reading.result()
        assert ring.take() == []
        assert ring.counters[0] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors as on Unix")
def test_a_ring_can_be_waited_for_whatever_the_number_of_its_descriptor(ring: FrameRing) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("the system allows fewer than 2048 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    low = ring._wakeups
    try:
        # As in a process that has more than a thousand files and connections open.
        high = [os.dup2(wakeup.fileno(), 1100 + i) for i, wakeup in enumerate(low)]
        ring._wakeups = tuple(socket.socket(fileno=descriptor) for descriptor in high)  # type: ignore[assignment]
        ring.put(image_of(1), 1, 0.0)
        assert ring.wait(10)
    finally:
        for wakeup in low:
            wakeup.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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
