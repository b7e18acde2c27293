"""Rates and percentiles."""

import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from streamcam.stats import Latencies, LatencyHistory, Rate, percentile


def test_a_rate_covers_the_last_seconds() -> None:
    rate = Rate(window=2.0)
    for tick in range(100):
        rate.tick(tick / 25)
    assert rate.per_second(99 / 25) == pytest.approx(25)
    assert rate.per_second(100) == 0


def test_one_event_gives_no_rate() -> None:
    rate = Rate()
    rate.tick(1.0)
    assert rate.per_second(1.0) == 0


def test_percentiles_are_values_of_the_sample() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, p) for p in (0, 1, 50, 95, 100)] == [1, 1, 50, 95, 100]
    assert percentile([], 50) is None


def test_old_latencies_are_forgotten() -> None:
    latencies = Latencies()
    for _ in range(1000):
        latencies.add(9.0)
    for _ in range(300):
        latencies.add(0.1)
    assert latencies.percentile(95) == 0.1


class Forgotten(deque[float]):
    """Events that another thread forgets between two looks at them."""

    def __getitem__(self, index: Any) -> Any:
        self.clear()
        return super().__getitem__(index)


def test_a_rate_may_change_while_it_is_read() -> None:
    assert Rate(times=Forgotten([0.0, 1.0, 2.0])).per_second(2.0) == pytest.approx(1.0)


def test_rates_and_latencies_can_be_read_by_several_threads() -> None:
    rate, latencies, done = Rate(window=0.01), Latencies(), Event()

    def read() -> None:
        now = 0.0
        while not done.is_set():
            now += 1.0  # Later than every event: a reader that forgets them empties the list.
            rate.per_second(now)
            rate.per_second(0.0)
            latencies.percentile(50)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            for tick in range(5000):
                rate.tick(tick * 1e-3)
                latencies.add(tick)
            done.set()
            for reader in readers:
                reader.result()
    finally:
        done.set()
        sys.setswitchinterval(interval)
    assert rate.per_second(4.999) > 0


def test_a_history_holds_a_point_a_second_of_the_last_minute() -> None:
    history = LatencyHistory()
    for tenth in range(1000):
        history.add(tenth / 10, tenth / 1000, None)
    points = history.points(100.0)
    assert len(points) == 60
    assert points[0] == (60.0, 400.0, None)
    assert points[-1] == (1.0, 990.0, None)
    assert history.points(150.0)[0][0] <= 60
