"""The targets: each is measured or left out with the reason; no figure is judged here."""

from pathlib import Path

import pytest

from benchmarks import targets
from benchmarks.targets import OVERHEAD, TARGETS, Outcome, Subjects, Targets
from streamcam.bench import energy, engine_comparison, harness
from streamcam.bench.energy import Counter
from streamcam.engines import selection
from streamcam.settings.config import Config, build_config
from streamcam.types import Image
from tests.support.streams import TINY, moving


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return settings for moments of a tiny model, on a machine that builds no engine."""
    monkeypatch.setattr(engine_comparison, "WARM_S", 0.0)
    monkeypatch.setattr(harness, "SIDE", 128)
    monkeypatch.setattr(targets, "ENERGY_S", 0.1)
    monkeypatch.setattr(energy, "SETTLE_S", 0.05)
    monkeypatch.setattr(selection.shutil, "which", lambda _: None)
    monkeypatch.setattr(selection, "find_spec", lambda _: None)
    others = {"width": 32, "height": 32, "t_index_list": [35], "engine_dir": str(tmp_path)}
    return build_config([TINY, others])


def scene(config: Config) -> list[Image]:
    return [frame.image for frame in moving(2, size=config.width)]


def test_a_processor_has_its_rows_and_says_what_a_card_s_rows_need(tiny: Config) -> None:
    measured = Targets(Subjects(tiny, tiny, None), scene, minutes=5, rounds=1)
    *_, last = measured.outcomes()
    outcomes = {outcome.target: outcome for outcome in last}
    assert tuple(outcomes) == TARGETS
    assert outcomes[targets.OVERHEAD].figure is not None
    assert outcomes[targets.PEER].figure is not None
    # No engine: there is no figure to make up.
    assert outcomes[targets.NANO_ENGINE].figure is None
    assert outcomes[targets.NANO_ENGINE].reached is None
    assert any("openvino is not installed" in why for why in measured.left_out)
    for target in TARGETS:
        if target.where == "GPU":
            assert outcomes[target] == (target, None, "needs an NVIDIA card")
    assert [title for title, lines in measured.tables if lines] == [
        "nano on the processor",
        "random:tiny-sd-turbo on the processor, 4 steps",
    ]


def test_a_card_s_rows_are_measured_with_the_same_calls(
    tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 100_000, 3))
    counter = Counter("test", lambda: float(next(ticks)))
    monkeypatch.setattr(targets, "counter_for", lambda _: counter)
    measured = Targets(Subjects(tiny, tiny, tiny), scene, minutes=5, rounds=1)
    *_, last = measured.outcomes()
    outcomes = {outcome.target: outcome for outcome in last}
    for target in TARGETS:
        if target.where == "GPU":
            figure = outcomes[target].figure
            assert figure is not None, measured.left_out
            assert figure > 0
    assert outcomes[targets.BATCH].note == "both on eager"
    # A whole process, torch and all.
    assert outcomes[targets.START].figure > 0.5  # type: ignore[operator]


def test_nothing_is_measured_when_the_time_is_over(tiny: Config) -> None:
    measured = Targets(Subjects(tiny, tiny, tiny), scene, minutes=0, rounds=1)
    *_, outcomes = measured.outcomes()
    assert all(outcome.figure is None for outcome in outcomes)
    assert all("the time was over" in outcome.note for outcome in outcomes)


def test_a_target_is_reached_from_its_own_side() -> None:
    speed = next(target for target in TARGETS if not target.at_most)
    assert Outcome(speed, speed.bound, "").reached
    assert not Outcome(speed, speed.bound - 0.01, "").reached
    assert Outcome(OVERHEAD, OVERHEAD.bound, "").reached
    assert not Outcome(OVERHEAD, OVERHEAD.bound + 0.01, "").reached
