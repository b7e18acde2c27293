"""The targets: each is measured or left out with the reason; no test depends on a figure."""

from pathlib import Path

import pytest

from benchmarks import target_table, targets
from benchmarks.target_table import OVERHEAD, RELEASE, Outcome
from benchmarks.targets import TargetConfigs, TargetRun
from streamcam.bench import energy, engine_comparison, harness
from streamcam.bench.energy import EnergyCounter
from streamcam.engines import requirements
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Image
from tests.support.streams import TINY, moving


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return settings of a tiny model, measured briefly on a machine that builds no engine."""
    monkeypatch.setattr(engine_comparison, "WARM_S", 0.0)
    monkeypatch.setattr(harness, "SIDE", 128)
    monkeypatch.setattr(targets, "ENERGY_S", 0.1)
    monkeypatch.setattr(energy, "SETTLE_S", 0.05)
    monkeypatch.setattr(requirements.shutil, "which", lambda _: None)
    monkeypatch.setattr(requirements, "find_spec", lambda _: None)
    settings = {"width": 32, "height": 32, "t_index_list": [35], "engine_dir": str(tmp_path)}
    return build_config([TINY, settings])


def scene(config: Config) -> list[Image]:
    return [frame.image for frame in moving(2, size=config.width)]


def test_without_a_gpu_its_targets_are_not_measured_and_say_why(tiny: Config) -> None:
    run = TargetRun(TargetConfigs(tiny, tiny, None), scene, minutes=5, rounds=1)
    *_, last = run.outcomes()
    outcomes = {outcome.target: outcome for outcome in last}
    assert tuple(outcomes) == RELEASE
    assert outcomes[target_table.OVERHEAD].figure is not None
    assert outcomes[target_table.DIFFUSERS].figure is not None
    # There is no engine, and so no figure.
    assert outcomes[target_table.NANO_ENGINE].figure is None
    assert outcomes[target_table.NANO_ENGINE].reached is None
    assert any("openvino is not installed" in why for why in run.left_out)
    for target in RELEASE:
        if target.where == "GPU":
            assert outcomes[target] == (target, None, "needs an NVIDIA GPU")
    assert [title for title, results in run.tables if results] == [
        "nano on the CPU",
        "random:tiny-sd-turbo on the CPU, 4 steps",
    ]


def test_gpu_targets_are_measured_with_the_same_calls(
    tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 100_000, 3))
    counter = EnergyCounter("test", lambda: float(next(ticks)))
    monkeypatch.setattr(targets, "counter_for", lambda _: counter)
    run = TargetRun(TargetConfigs(tiny, tiny, tiny), scene, minutes=5, rounds=1)
    *_, last = run.outcomes()
    outcomes = {outcome.target: outcome for outcome in last}
    for target in RELEASE:
        if target.where == "GPU":
            figure = outcomes[target].figure
            assert figure is not None, run.left_out
            assert figure > 0
    assert outcomes[target_table.BATCH].note == "both on eager"
    # Starting a process that imports torch takes longer.
    assert outcomes[target_table.START].figure > 0.5  # type: ignore[operator]


def test_nothing_is_measured_when_the_time_is_over(tiny: Config) -> None:
    run = TargetRun(TargetConfigs(tiny, tiny, tiny), scene, minutes=0, rounds=1)
    *_, outcomes = run.outcomes()
    assert all(outcome.figure is None for outcome in outcomes)
    assert all("the time was over" in outcome.note for outcome in outcomes)


def test_a_target_is_a_lower_or_an_upper_bound() -> None:
    speed = next(target for target in RELEASE if not target.at_most)
    assert Outcome(speed, speed.bound, "").reached
    assert not Outcome(speed, speed.bound - 0.01, "").reached
    assert Outcome(OVERHEAD, OVERHEAD.bound, "").reached
    assert not Outcome(OVERHEAD, OVERHEAD.bound + 0.01, "").reached
