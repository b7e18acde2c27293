"""Slots between threads, pauses between tries."""

from threading import Thread

import pytest

from streamcam.runtime.backoff import Backoff
from streamcam.runtime.dropping_queue import DroppingQueue


def test_the_newest_win_and_what_makes_way_is_counted() -> None:
    slot: DroppingQueue[int] = DroppingQueue(2)
    for number in range(5):
        slot.put(number)
    assert [slot.get(0), slot.get(0), slot.get(0)] == [3, 4, None]
    assert slot.dropped == 3


def test_a_reader_waits_for_what_comes() -> None:
    slot: DroppingQueue[str] = DroppingQueue()
    Thread(target=slot.put, args=("here",)).start()
    assert slot.get(10) == "here"


def test_closing_wakes_a_reader_and_keeps_what_is_held() -> None:
    slot: DroppingQueue[str] = DroppingQueue()
    slot.put("last")
    slot.close()
    assert slot.get() == "last"
    assert slot.get() is None


def test_pauses_double_to_a_limit_and_begin_anew_after_good_times() -> None:
    backoff = Backoff(first=1.0, most=5.0)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    assert backoff.next(healthy_s=3.0) == 5
    assert backoff.next(healthy_s=60.0) == pytest.approx(1.0)
