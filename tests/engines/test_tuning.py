"""A tuned engine takes the place of the one before where it is measured to be faster."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from streamcam.engines.builder import EngineBuilder
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.engines.store import Store
from tests.engines.conftest import Small, call


class SleepyEngine:
    """Runs a copy of the stage after a pause, which is shorter or longer where it is tuned."""

    name = "sleepy"
    dtype = weights_dtype = torch.float32

    def __init__(self, tuned: Callable[[], dict[str, Any]]) -> None:
        self._tuned = tuned
        self._flat: Any = None

    def supports(self, flat: FlatStage) -> bool:  # noqa: ARG002
        return True

    def fingerprint(self) -> Mapping[str, str]:
        return {}

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:  # noqa: ARG002
        self._flat = flat
        (folder / "engine").write_text('{"pause_s": 0.002, "scale": 1}')

    def build_tuned(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:  # noqa: ARG002
        (folder / "engine").write_text(json.dumps(self._tuned()))

    def load(self, folder: Path) -> FlatForward:
        settings = json.loads((folder / "engine").read_text())

        def run(*tensors: Tensor) -> Tensor:
            time.sleep(settings["pause_s"])
            result: Tensor = self._flat(*tensors) * settings["scale"]
            return result

        return run


class PlainEngine:
    """Runs the stage itself, and cannot be tuned."""

    name = "plain"
    dtype = weights_dtype = torch.float32

    def supports(self, flat: FlatStage) -> bool:  # noqa: ARG002
        return True

    def fingerprint(self) -> Mapping[str, str]:
        return {}

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        pass

    def load(self, folder: Path) -> FlatForward | None:  # noqa: ARG002
        return None


def broken() -> dict[str, Any]:
    raise MemoryError


@pytest.mark.parametrize(
    ("tuned", "words", "kept_s"),
    [
        (lambda: {"pause_s": 0, "scale": 1}, "times as fast as the one before", 0),
        (lambda: {"pause_s": 0.006, "scale": 1}, "did not pay: 0.", 0.002),
        (lambda: {"pause_s": 0, "scale": 2}, "cannot be tuned: ", 0.002),
        (broken, "memory of this computer is not enough", 0.002),
    ],
    ids=["faster", "slower", "inaccurate", "broken"],
)
def test_it_is_kept_only_where_it_is_faster_and_accurate(
    tmp_path: Path, stage: Small, tuned: Any, words: str, kept_s: float
) -> None:
    lines: list[str] = []
    engine = SleepyEngine(tuned)
    stages = EngineBuilder(
        [engine], Store(tmp_path), lines.append, builder=None, waits=True, tunes=True
    )
    torch.testing.assert_close(stages(stage)(*call()), stage(*call()))
    assert any(words in line for line in lines)
    assert "is ready" in lines[-1]
    [entry] = Store(tmp_path).entries()
    assert json.loads((entry.folder / "engine").read_text())["pause_s"] == kept_s
    assert ("tuned" in entry.manifest) == (kept_s == 0)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [entry.key]


def test_an_engine_without_tuning_says_so_and_runs(tmp_path: Path, stage: Small) -> None:
    lines: list[str] = []
    engine = PlainEngine()
    stages = EngineBuilder(
        [engine], Store(tmp_path), lines.append, builder=None, waits=True, tunes=True
    )
    stages(stage)(*call())
    assert "the plain engine of small has nothing to tune" in lines
    assert "is ready" in lines[-1]
