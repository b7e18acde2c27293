"""Energy counters, read from files that look like Linux's own."""

from pathlib import Path

import pytest
import torch

from streamcam.bench import energy
from streamcam.bench.energy import EnergyCounter, counter_for, measure, rapl_counter
from streamcam.errors import DeviceError
from streamcam.settings.config_layers import build_config
from tests.support.streams import TINY, moving


def zone(folder: Path, name: str, energy: int, full: int = 1_000_000) -> Path:
    (folder / name).mkdir()
    (folder / name / "energy_uj").write_text(f"{energy}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{full}\n")
    return folder / name / "energy_uj"


def test_packages_are_summed_and_a_counter_that_wraps_around_goes_on(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", 900_000)
    zone(tmp_path, "intel-rapl:1", 500_000)
    zone(tmp_path, "intel-rapl:0:0", 7)
    counter = rapl_counter(tmp_path)
    assert counter.joules() == pytest.approx(1.4)
    first.write_text("100000\n")
    assert counter.joules() == pytest.approx(1.6)


def test_a_missing_counter_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="virtual machines have none"):
        rapl_counter(tmp_path)


def test_a_counter_that_cannot_be_read_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", 1)
    file.unlink()
    file.mkdir()
    with pytest.raises(DeviceError, match=r"cannot read .*energy_uj"):
        rapl_counter(tmp_path)


@pytest.mark.parametrize(("device", "named"), [("cuda", "AMD's GPUs"), ("mps", "mps")])
def test_a_gpu_that_nvidias_library_does_not_know_has_no_counter(
    device: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)  # As in PyTorch for ROCm.
    monkeypatch.setattr(energy, "pick_device", torch.device)
    with pytest.raises(DeviceError, match=f"no energy counter is known for {named}"):
        counter_for(build_config([TINY, {"device": device}]))


def test_watts_and_joules_follow_from_the_counter_and_the_clock() -> None:
    ticks = iter(range(0, 1000, 3))
    config = build_config([TINY, {"width": 32, "height": 32, "fps": 50, "acceleration": "eager"}])
    scene = [frame.image for frame in moving(4, size=32)]
    readings = measure(
        config, scene, EnergyCounter("test", lambda: float(next(ticks))), seconds=0.3
    )
    assert [reading.name for reading in readings] == [
        "moving scene, filter off",
        "moving scene, filter on",
        "still scene, filter off",
        "still scene, filter on",
    ]
    for reading in readings:
        assert 0 < reading.watts <= 10
        assert reading.joules_per_frame == pytest.approx(reading.watts / reading.fps, rel=0.01)
