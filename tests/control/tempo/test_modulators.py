"""Modulators: the shapes, and the values that are in use around the operator's."""

import math
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.control.messages import Argument, Message
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.control.tempo.tempo_room import TempoRoom
from streamcam.control.tempo.wave_shapes import SHAPES
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from tests.control.osc.running_server import STATUS

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=40)


class Clock:
    """Clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Modulated:
    """A surface whose latency is 0, at 60 bpm, so that a beat is a second."""

    def __init__(self, **given_: object) -> None:
        config = build_config([{"bpm": 60, **given_}])
        self.clock = Clock()
        self.control = Control(config, self.clock)
        self.surface = ControlSurface(self.control, config, lambda _line: None)
        status = replace(STATUS, latency_p50=0.0, fps_model=0.0, fps_in=0.0)
        self.room = TempoRoom(self.surface, lambda: status, self.clock)

    def send(self, address: str, *arguments: Argument) -> None:
        outcome = self.surface.apply([Message(f"/streamcam/{address}", arguments)], "a")
        assert not outcome.refused + outcome.unknown

    def at(self, seconds: float) -> Parameters:
        """Return the snapshot in use so many seconds after the start."""
        self.clock.now = 1000.0 + seconds
        return self.control.advance()


@EXAMPLES
@given(st.sampled_from(sorted(SHAPES)), st.floats(-1e6, 1e6))
def test_a_shape_stays_between_minus_one_and_one_and_repeats_each_cycle(
    name: str, cycles: float
) -> None:
    shape = SHAPES[name]
    assert -1 <= shape(cycles) <= 1
    assert shape(cycles) == shape(cycles)
    part = round(cycles % 1, 3)
    if name != "random" and 0.01 < abs(part - 0.5) < 0.49:
        assert shape(part + 7) == pytest.approx(shape(part), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sine", [0, 1, 0, -1]),
        ("triangle", [0, 1, 0, -1]),
        ("square", [1, 1, -1, -1]),
        ("ramp", [-1, -0.5, 0, 0.5]),
    ],
)
def test_a_shape_over_its_four_quarters(name: str, values: list[float]) -> None:
    assert [SHAPES[name](quarter / 4) for quarter in range(4)] == pytest.approx(values, abs=1e-9)


def test_random_jumps_each_cycle_to_values_that_are_even_over_the_range() -> None:
    random = SHAPES["random"]
    assert random(3.1) == random(3.9) != random(4.1)
    values = [random(cycle) for cycle in range(2000)]
    assert abs(fmean(values)) < 0.05
    assert math.isclose(fmean(v * v for v in values), 1 / 3, rel_tol=0.05)


def test_a_modulator_swings_around_the_operators_value_which_stays_as_it_was() -> None:
    modulated = Modulated(guidance_scale=3.0)
    modulated.send("mod/guidance_scale/depth", 0.75)
    modulated.send("mod/guidance_scale/rate", 4)
    assert modulated.at(1).guidance_scale == 3
    modulated.send("mod/guidance_scale/shape", "sine")
    values = [modulated.at(beat).guidance_scale for beat in (0, 1, 2, 3, 4)]
    assert values == pytest.approx([3, 4, 3, 0, 3])
    assert modulated.control.target.guidance_scale == 3
    assert modulated.surface.value_of("/streamcam/guidance_scale") == (
        "/streamcam/guidance_scale",
        (3.0,),
    )
    modulated.send("guidance_scale", 10)
    assert modulated.at(5).guidance_scale == pytest.approx(13)
    modulated.send("mod/guidance_scale/shape", "off")
    assert modulated.control.parameters is modulated.control.target


def test_a_modulated_value_stays_in_its_range_and_runs_as_it_is() -> None:
    modulated = Modulated(mix=0.9, strength=0.1)
    for name in ("mix", "strength"):
        modulated.send(f"mod/{name}/shape", "triangle")
        modulated.send(f"mod/{name}/depth", 1)
    for tick in range(40):
        parameters = modulated.at(tick / 10)
        assert 0 <= parameters.mix <= 1
        assert parameters == Parameters.parse(parameters.model_dump())
    assert max(modulated.at(t / 10).mix for t in range(40)) == 1


def test_modulation_goes_on_while_a_fade_runs_and_the_fade_is_of_the_operators_values() -> None:
    modulated = Modulated(guidance_scale=2.0)
    modulated.send("mod/guidance_scale/shape", "square")
    modulated.send("mod/guidance_scale/depth", 0.75)
    modulated.at(0.1)
    modulated.control.change({"guidance_scale": 8.0}, over=4.0)
    assert modulated.at(2.1).guidance_scale == pytest.approx(5 - 3)
    assert modulated.at(4.2).guidance_scale == pytest.approx(8 + 3)
    assert modulated.control.target.guidance_scale == 8


def test_a_modulator_swings_within_what_the_models_fader_spans() -> None:
    modulated = Modulated(strength=0.2, faders={"strength": 0.5})
    modulated.send("mod/strength/shape", "square")
    modulated.send("mod/strength/depth", 1)
    assert [modulated.at(beat).strength for beat in (0.5, 2.5)] == [0.5, 0]


def test_strength_that_is_not_set_swings_around_its_default_and_indices_are_left_alone() -> None:
    modulated = Modulated()
    modulated.send("mod/strength/shape", "sine")
    modulated.send("mod/strength/depth", 0.2)
    assert modulated.at(1).strength == pytest.approx(0.6)
    assert modulated.control.target.strength is None
    steps = len(modulated.surface.config.indices(modulated.control.target))
    modulated.send("t_index_list", *range(10, 10 + steps))
    assert modulated.at(1.5).strength is None
    modulated.surface.config.check(modulated.at(2))


def test_a_rate_in_hertz_is_changed_without_a_jump() -> None:
    modulated = Modulated(mix=0.5)
    for setting, value in (("unit", "hz"), ("rate", 0.5), ("shape", "triangle"), ("depth", 0.5)):
        modulated.send(f"mod/mix/{setting}", value)
    before = modulated.at(0.3).mix
    modulated.send("mod/mix/rate", 0.7)
    assert modulated.at(0.3).mix == pytest.approx(before)
    assert modulated.at(0.31).mix == pytest.approx(before, abs=0.02)


def test_phase_is_a_share_of_a_swing_and_two_that_are_random_differ() -> None:
    modulated = Modulated(mix=0.5, detail=0.5)
    for name in ("mix", "detail"):
        modulated.send(f"mod/{name}/shape", "random")
        modulated.send(f"mod/{name}/depth", 0.5)
    parameters = modulated.at(0.1)
    assert parameters.mix != parameters.detail
    modulated.send("mod/mix/shape", "ramp")
    modulated.send("mod/mix/phase", 0.25)
    assert modulated.at(2).mix == pytest.approx(0.5 + 0.5 * 0.5, abs=0.01)


def test_modulators_are_off_at_first_and_then_a_snapshot_is_only_passed_on() -> None:
    modulated = Modulated()
    before = modulated.control.parameters
    published: list[Parameters] = []
    modulated.control.listen(lambda _before, after: published.append(after))
    assert modulated.at(1) is before
    for name in ("mix", "strength"):
        modulated.send(f"mod/{name}/shape", "sine")  # Without a depth.
    assert modulated.at(2) is before
    assert not published


def test_what_a_modulator_does_not_know_is_refused_and_numbers_are_kept_in_range() -> None:
    modulated = Modulated()
    outcome = modulated.surface.apply(
        [
            Message("/streamcam/mod/mix/shape", ("zigzag",)),
            Message("/streamcam/mod/mix/rate", (float("nan"),)),
            Message("/streamcam/mod/mix/depth", (7,)),
            Message("/streamcam/mod/prompt/shape", ("sine",)),
        ],
        "a",
    )
    assert [address for address, _ in outcome.refused] == [
        "/streamcam/mod/mix/shape",
        "/streamcam/mod/mix/rate",
    ]
    assert outcome.unknown == ["/streamcam/mod/prompt/shape"]
    assert modulated.room.modulators.settings["mix"].depth == 1


def test_a_source_of_the_tempo_that_fails_leaves_the_operators_values_on_air(
    caplog: pytest.LogCaptureFixture,
) -> None:
    modulated = Modulated(mix=0.5)
    modulated.send("mod/mix/shape", "ramp")
    modulated.send("mod/mix/depth", 0.5)
    assert modulated.at(0.5).mix != 0.5

    def broken() -> None:
        raise RuntimeError("a bug")

    modulated.room.modulators._grid = broken  # type: ignore[assignment]
    assert modulated.at(1).mix == modulated.at(2).mix == 0.5
    assert len(caplog.records) == 1
    modulated.room.modulators._grid = modulated.room.clock.grid
    assert modulated.at(3.5).mix != 0.5
