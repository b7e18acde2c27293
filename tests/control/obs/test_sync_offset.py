from itertools import count, pairwise

import pytest

from streamcam.control.obs.sync_offset import PERIOD_S, SyncOffset


def settings(offset: SyncOffset, *latencies_ms: float, begin: float = 0.0) -> list[int]:
    """Return the offsets that are set, with a measurement of the latency every second."""
    found = (offset.next(ms / 1000, now) for ms, now in zip(latencies_ms, count(begin)))
    return [ms for ms in found if ms is not None]


def test_the_first_offset_is_the_median_of_some_measurements() -> None:
    assert settings(SyncOffset(), 120) == []
    assert settings(SyncOffset(), 120, 900, 130) == [130]


def test_small_changes_and_single_outliers_are_ignored() -> None:
    offset = SyncOffset()
    settings(offset, 120, 120, 120)
    assert settings(offset, 121, 134, 110, 900, 120, 120, 106, begin=10) == []


def test_a_large_change_is_made_in_steps_that_are_apart() -> None:
    offset = SyncOffset()
    settings(offset, *[100] * 5)
    moved = settings(offset, *[500] * 60, begin=10)
    assert moved == [300, 400, 450, 500]
    changes = [offset.next(0.1, now / 10) is not None for now in range(1000, 1600)]
    times = [place for place, changed in enumerate(changes) if changed]
    assert min(b - a for a, b in pairwise(times)) >= PERIOD_S * 10


@pytest.mark.parametrize(
    ("latency_ms", "extra_ms", "expected"),
    [(100, 40, 140), (100, -1000, -900), (60_000, 0, 20_000)],
)
def test_more_is_added_and_the_limits_of_obs_are_kept(
    latency_ms: float, extra_ms: float, expected: int
) -> None:
    assert settings(SyncOffset(extra_ms), *[latency_ms] * 3) == [expected]
