"""The size on air follows the time that frames take, and the engine's crashes."""

import logging
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from streamcam.errors import StreamcamError
from streamcam.runtime import auto_size, engine_on_air
from streamcam.runtime.auto_size import TRIAL_S, AutoSize
from streamcam.runtime.engine_on_air import EngineOnAir
from streamcam.settings.config_layers import build_config
from tests.runtime.fake_engine import FakeEngine, frame

BASE, LARGEST = (448, 256), (896, 512)
FAST, TOO_SLOW = 5e-3 / (448 * 256), 50e-3 / (448 * 256)
"""Seconds per pixel."""
FPS = 25


class Run:
    """A broadcast without processes, whose seconds pass when they are asked for."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        sizes = {"model": "identity", "width": 448, "height": 256, "shape": "camera"}
        config = build_config([{**sizes, "grow_to": 512, "engine_dir": str(folder)} | settings])
        self.fatal: list[StreamcamError] = []
        self.auto_size = AutoSize(config, self.fatal.append)
        self.engines = EngineOnAir(
            self.auto_size.first, self.auto_size.failed, lambda _items, _why, _instead: None
        )
        self.live = config.live
        self.auto_size.start(self.engines, lambda: self.live, lambda: 1 / FPS)
        self._index = count()
        self._now = 0.0

    @property
    def engine(self) -> FakeEngine:
        assert isinstance(self.engines.engine, FakeEngine)
        return self.engines.engine

    @property
    def size(self) -> tuple[int, int]:
        return self.engine.config.width, self.engine.config.height

    def seconds(self, number: int) -> None:
        for _ in range(number):
            self._now += 1
            for _ in range(FPS):
                self.engines.offer(frame(next(self._index)), self.live)
                self.engines.outputs()
            self.auto_size.check(self._now)

    def load(self) -> None:
        """Let the newest engine be ready, and a second pass."""
        FakeEngine.made[-1].load()
        self.seconds(1)

    def grow(self) -> None:
        """Run until the largest size is on air."""
        self.load()
        self.seconds(6)
        self.load()
        assert self.size == LARGEST


@pytest.fixture(autouse=True)
def fake_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngine, "made", [])
    monkeypatch.setattr(FakeEngine, "seconds_per_pixel", FAST)
    monkeypatch.setattr(engine_on_air, "EngineProcess", FakeEngine)
    monkeypatch.setattr(auto_size.SupervisedThread, "start", lambda _self: None)


def test_with_room_the_size_grows_while_the_first_engine_is_on_air(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = Run(tmp_path)
    run.load()
    run.seconds(6)
    assert run.size == BASE
    assert run.engines.is_changing
    run.load()
    assert run.size == LARGEST
    assert "448x256 -> 896x512, since the machine has room for it" in caplog.text
    run.seconds(10)
    assert len(FakeEngine.made) == 2


def test_without_room_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngine, "seconds_per_pixel", 30e-3 / (448 * 256))
    run = Run(tmp_path)
    run.load()
    run.seconds(20)
    assert len(FakeEngine.made) == 1
    assert not [*tmp_path.iterdir()]


def test_while_engines_are_built_nothing_is_judged(tmp_path: Path) -> None:
    run = Run(tmp_path)
    FakeEngine.made[0].load(settled=False)
    run.seconds(20)
    assert len(FakeEngine.made) == 1


def test_a_size_that_turns_out_too_slow_is_left_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = Run(tmp_path)
    run.grow()
    monkeypatch.setattr(FakeEngine, "seconds_per_pixel", TOO_SLOW)
    run.seconds(7)
    run.load()
    assert run.size == BASE
    assert "896x512 -> 448x256, since a frame took too long" in caplog.text
    monkeypatch.setattr(FakeEngine, "seconds_per_pixel", FAST)
    run.seconds(7)
    run.load()
    assert BASE < run.size < LARGEST
    again = Run(tmp_path)
    assert again.size == run.size
    again.load()
    again.seconds(20)
    assert again.size == run.size
    assert not again.engines.is_changing


def test_the_next_start_begins_at_the_size_that_this_one_ended_with(tmp_path: Path) -> None:
    Run(tmp_path).grow()
    assert Run(tmp_path).size == LARGEST
    assert Run(tmp_path, fps=60).size == BASE


def test_an_engine_that_fails_while_it_loads_is_not_tried_again_in_this_broadcast(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    run.load()
    run.seconds(6)
    FakeEngine.made[-1].die()
    run.seconds(20)
    assert run.size == BASE
    assert len(FakeEngine.made) == 2
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        "448x256 stays, since 896x512 does not run: no memory"
    ]


def test_a_crash_soon_after_a_change_is_blamed_on_the_size(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.grow()
    run.seconds(5)
    run.engine.die()
    run.seconds(1)
    assert run.size == BASE
    assert run.engine.restarts == 1
    run.load()
    run.seconds(7)
    run.load()
    assert BASE < run.size < LARGEST


def test_a_crash_much_later_leaves_the_size_but_a_second_one_does_not(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.grow()
    run.seconds(round(TRIAL_S) + 5)
    run.engine.die()
    run.seconds(1)
    assert run.size == LARGEST
    run.engine.restarts += 1
    run.load()
    run.seconds(round(TRIAL_S) + 5)
    run.engine.die()
    run.seconds(1)
    assert run.size == BASE


def test_a_remembered_size_that_cannot_run_any_more_gives_way_to_the_smallest(
    tmp_path: Path,
) -> None:
    Run(tmp_path).grow()
    run = Run(tmp_path)
    run.engine.die()
    run.seconds(1)
    assert (run.size, run.fatal) == (BASE, [])
    run.engine.die()
    assert [str(error) for error in run.fatal] == ["no memory"]


@pytest.mark.parametrize("content", ["", "{}", '{"size": [1, 2, 3]}', '{"size": [64, 64]}'])
def test_a_damaged_memory_of_the_size_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    Run(tmp_path).grow()
    [file] = tmp_path.iterdir()
    file.write_text(content)
    assert Run(tmp_path).size == BASE
