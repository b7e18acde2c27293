"""Energy by the device's own counter, on files laid out as Linux lays them out."""

from pathlib import Path

import pytest

from streamcam.bench.energy import Counter, measure, rapl
from streamcam.errors import DeviceError
from streamcam.settings.config import build_config
from tests.support.streams import TINY, moving


def zone(folder: Path, name: str, energy: int, full: int = 1_000_000) -> Path:
    (folder / name).mkdir()
    (folder / name / "energy_uj").write_text(f"{energy}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{full}\n")
    return folder / name / "energy_uj"


def test_packages_are_added_up_and_a_full_counter_begins_anew(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", 900_000)
    zone(tmp_path, "intel-rapl:1", 500_000)
    zone(tmp_path, "intel-rapl:0:0", 7)
    counter = rapl(tmp_path)
    assert counter.joules() == pytest.approx(1.4)
    first.write_text("100000\n")
    assert counter.joules() == pytest.approx(1.6)


def test_a_missing_counter_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="virtual machines have none"):
        rapl(tmp_path)


def test_a_counter_that_cannot_be_read_is_said_with_the_remedy(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", 1)
    file.unlink()
    file.mkdir()
    with pytest.raises(DeviceError, match=r"cannot read .*energy_uj"):
        rapl(tmp_path)


def test_watts_and_joules_follow_from_the_counter_and_the_clock() -> None:
    ticks = iter(range(0, 1000, 3))
    config = build_config([TINY, {"width": 32, "height": 32, "fps": 50, "acceleration": "eager"}])
    scene = [frame.image for frame in moving(4, size=32)]
    draws = measure(config, scene, Counter("test", lambda: float(next(ticks))), seconds=0.3)
    assert [draw.name for draw in draws] == [
        "moving scene, filter off",
        "moving scene, filter on",
        "still scene, filter off",
        "still scene, filter on",
    ]
    for draw in draws:
        assert 0 < draw.watts <= 10
        assert draw.joules_per_frame == pytest.approx(draw.watts / draw.fps, rel=0.01)
