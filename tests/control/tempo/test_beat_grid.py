"""Beats as arithmetic: where they are, and which comes next."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.control.tempo.beat_grid import MAX_BPM, MIN_BPM, BeatGrid
from streamcam.errors import ParameterError

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=40)
TEMPOS = st.floats(MIN_BPM, MAX_BPM)
TIMES = st.floats(0, 1e6)
LENGTHS = st.sampled_from([1, 3, 4, 8, 16])


@EXAMPLES
@given(TEMPOS, TIMES, TIMES, LENGTHS)
def test_the_next_boundary_is_a_multiple_and_never_further_than_one_away(
    bpm: float, start: float, now: float, beats: int
) -> None:
    grid = BeatGrid(bpm, start)
    boundary = grid.boundary(now, beats)
    assert boundary % beats == 0
    assert -1e-5 <= boundary - grid.beat_at(now) < beats + 1e-5


@EXAMPLES
@given(TEMPOS, TEMPOS, TIMES, TIMES)
def test_a_new_tempo_keeps_the_beat(bpm: float, other: float, start: float, now: float) -> None:
    grid = BeatGrid(bpm, start)
    changed = grid.at_tempo(other, now)
    assert changed.bpm == other
    assert math.isclose(changed.beat_at(now), grid.beat_at(now), rel_tol=1e-9, abs_tol=1e-5)


def test_a_time_on_the_boundary_is_the_boundary_and_the_phase_begins_anew_there() -> None:
    grid = BeatGrid(120, start=10.0)
    assert grid.boundary(12.0, 4) == 4
    assert grid.boundary(12.001, 4) == 8
    assert [grid.phase_at(t) for t in (12.0, 12.25, 12.5)] == [0, 0.5, 0]
    assert grid.phase_at(13.0, beats=4) == 0.5
    assert grid.time_of(8) == 14.0
    assert grid.at_beat(0, 13.3).boundary(13.31, 4) == 4


@pytest.mark.parametrize(
    "broken", [{"bpm": math.nan}, {"bpm": 0}, {"bpm": 1e9}, {"start": math.inf}]
)
def test_a_grid_that_is_no_tempo_is_refused(broken: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        BeatGrid(**broken)  # type: ignore[arg-type]
