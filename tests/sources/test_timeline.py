from collections.abc import Sequence

import pytest

from streamcam.sources.timeline import DISCONTINUITY_S, LONGEST_HOLD_S, Timeline

PERIOD = 0.04


def placed(times: Sequence[float | None], *, may_jump: bool) -> list[float]:
    timeline = Timeline(PERIOD, may_jump=may_jump)
    return [timeline.place(time) for time in times]


@pytest.mark.parametrize("may_jump", [True, False])
@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param([5.0, 5.1, 5.3], [0, 0.1, 0.3], id="start"),
        pytest.param([-0.5, -0.4, 0.1], [0, 0.1, 0.6], id="negative"),
        pytest.param([0, 0.1, 6.1, 6.2], [0, 0.1, 6.1, 6.2], id="hold"),
        pytest.param([0, 1, 2, 0, 1, 2], [0, 1, 2, 2.04, 3.04, 4.04], id="joined"),
        pytest.param(
            [95443.60, 95443.70, 0.083, 0.183], [0, 0.1, 0.14, 0.24], id="33 bits overflow"
        ),
        pytest.param([0, 0.04, 0.04, 0.12], [0, 0.04, 0.08, 0.12], id="repeated"),
        pytest.param([0, 0.08, 0.04, 0.16], [0, 0.08, 0.12, 0.16], id="out of order"),
        pytest.param([0, 0, 0, 0], [0, 0.04, 0.08, 0.12], id="stuck"),
        pytest.param([None, None, None], [0, 0.04, 0.08], id="missing"),
        pytest.param([None, 7.0, None, 7.1], [0, 0.04, 0.08, 0.14], id="some missing"),
    ],
)
def test_times_only_rise_and_parts_follow_each_other(
    times: list[float | None], expected: list[float], may_jump: bool
) -> None:
    assert placed(times, may_jump=may_jump) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("may_jump", "longest"), [(True, DISCONTINUITY_S), (False, LONGEST_HOLD_S)]
)
def test_a_jump_ahead_is_a_hold_up_to_what_the_format_allows(
    may_jump: bool, longest: float
) -> None:
    assert placed([0, longest - 1], may_jump=may_jump) == [0, longest - 1]
    times = [0, longest + 1, longest + 2]
    assert placed(times, may_jump=may_jump) == pytest.approx([0, PERIOD, PERIOD + 1])
