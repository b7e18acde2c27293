"""Dropping queue between threads, and growing pauses between tries."""

from threading import Thread

import pytest

from streamcam.runtime.dropping_queue import DroppingQueue
from streamcam.system.backoff import Backoff


def test_the_oldest_item_is_dropped_and_counted_when_the_queue_is_full() -> None:
    queue: DroppingQueue[int] = DroppingQueue(2)
    for number in range(5):
        queue.put(number)
    assert [queue.get(0), queue.get(0), queue.get(0)] == [3, 4, None]
    assert queue.dropped == 3


def test_a_reader_waits_for_an_item() -> None:
    queue: DroppingQueue[str] = DroppingQueue()
    Thread(target=queue.put, args=("here",)).start()
    assert queue.get(10) == "here"


def test_closing_wakes_a_reader_and_keeps_the_queued_items() -> None:
    queue: DroppingQueue[str] = DroppingQueue()
    queue.put("last")
    queue.close()
    assert queue.get() == "last"
    assert queue.get() is None


def test_pauses_double_to_a_limit_and_start_over_after_a_healthy_run() -> None:
    backoff = Backoff(first=1.0, longest=5.0)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    assert backoff.next(healthy_s=3.0) == 5
    assert backoff.next(healthy_s=60.0) == pytest.approx(1.0)


def test_a_cleared_queue_takes_items_again() -> None:
    queue: DroppingQueue[str] = DroppingQueue(2)
    queue.put("old")
    queue.clear()
    assert queue.get(0) is None
    queue.put("new")
    assert queue.get(0) == "new"
