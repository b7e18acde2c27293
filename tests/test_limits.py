"""Limits: rates, log lines and places for hosts, each with a clock of its own."""

import logging
from dataclasses import dataclass

import pytest

from streamcam.limits import MAX_KEYS, FairQueue, LogRateFilter, RateLimiter, client_to_evict


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def record(line: int, message: str = "failed %d", *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("asyncio", logging.ERROR, "events.py", line, message, arguments, None)


def test_a_bucket_fills_at_its_rate_and_each_key_has_its_own() -> None:
    clock = Clock()
    limiter = RateLimiter(2, 3, clock)
    assert [limiter.take("a") for _ in range(4)] == [True, True, True, False]
    assert limiter.take("b", 3)
    clock.now = 1.0
    assert [limiter.take("a") for _ in range(3)] == [True, True, False]


def test_keys_are_forgotten_from_the_oldest_on() -> None:
    limiter = RateLimiter(0, 1)
    assert limiter.take("first")
    assert all(limiter.take(key) for key in range(MAX_KEYS))
    assert limiter.take("first")
    assert not limiter.take(MAX_KEYS - 1)


def test_lines_of_one_statement_are_limited_and_counted() -> None:
    clock = Clock()
    filter_ = LogRateFilter(rate=1, burst=3, clock=clock)
    passed = [filter_.filter(record(7, "failed %d", number)) for number in range(10)]
    assert passed == [True] * 3 + [False] * 7
    assert filter_.filter(record(8))
    clock.now = 1.0
    late = record(7, "failed %d", 10)
    assert filter_.filter(late)
    assert late.getMessage() == "failed 10 (7 more like this were left out)"
    clock.now = 2.0
    later = record(7, "failed %d", 11)
    assert filter_.filter(later)
    assert later.getMessage() == "failed 11"


@dataclass
class Stream:
    host: str
    waiting_since: float | None = None


@pytest.mark.parametrize(
    ("places", "newcomer", "wanted"),
    [
        # All read, all of one host: nobody makes room for one more of the same.
        ([Stream("a"), Stream("a")], "a", None),
        # That which has not read longest, as long as it has for two seconds.
        ([Stream("a", 5), Stream("a", 3), Stream("a", 9.5), Stream("a")], "a", 1),
        ([Stream("a", 9.5), Stream("a")], "a", None),
        # Of the host that takes the most, though another has waited longer.
        ([Stream("b", 1), Stream("a", 6), Stream("a", 5), Stream("a")], "c", 2),
        # A host that has many does not take the only one of another.
        ([Stream("b", 1), Stream("a"), Stream("a")], "a", None),
        # A host with all of them shares with others, but not to its own disadvantage.
        ([Stream("a"), Stream("a")], "b", 0),
        ([Stream("a"), Stream("b")], "b", None),
        ([Stream("a"), Stream("b")], "c", None),
        ([], "a", None),
    ],
)
def test_a_place_is_freed_fairly(places: list[Stream], newcomer: str, wanted: int | None) -> None:
    freed = client_to_evict(places, newcomer, 10.0, patience_s=2.0)
    assert freed is (None if wanted is None else places[wanted])


def test_hosts_take_turns_in_a_queue_and_the_longest_loses() -> None:
    queue = FairQueue[str](5)
    assert all(queue.put("flood", f"flood {n}") for n in range(5))
    assert not queue.put("flood", "flood 5")
    assert not queue.put("operator", "prompt")
    assert not queue.put("operator", "seed")
    assert [queue.take() for _ in range(len(queue))] == [
        "flood 3",
        "prompt",
        "flood 4",
        "seed",
        "flood 5",
    ]
