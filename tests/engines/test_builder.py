"""Stages get their engines while they run: at once, later, or never, and never at their cost."""

import pickle
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from streamcam.engines import accuracy
from streamcam.engines.builder import AcceleratedStage, EngineBuilder
from streamcam.engines.eager import EagerEngine
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.engines.store import Store
from streamcam.errors import EngineError
from tests.engines.conftest import Small, Told, call, small


class Copying:
    """An engine that is a copy of the stage, and counts what is asked of it."""

    name = "copying"
    dtype = weights_dtype = torch.float32

    def __init__(self, *, error: float = 0.0, breaks: bool = False) -> None:
        self.error = error
        self.breaks = breaks
        self.built = 0
        self.runs = 0

    def supports(self, flat: FlatStage) -> bool:  # noqa: ARG002
        return True

    def fingerprint(self) -> Mapping[str, str]:
        return {}

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        self.built += 1
        if self.breaks:
            raise RuntimeError("no such layer")
        present = [True] * len(inputs) + [False] * (flat._structure.num_leaves - len(inputs))
        content = (flat.stage.state_dict(), present)
        (folder / "weights").write_bytes(pickle.dumps(content))
        self._structure = flat._structure

    def load(self, folder: Path) -> FlatForward:
        state, present = pickle.loads((folder / "weights").read_bytes())
        copy = small(seed=99)
        copy.load_state_dict(state)
        flat = FlatStage(copy, self._structure, present)

        def run(*tensors: Tensor) -> Tensor:
            self.runs += 1
            return flat(*tensors) + self.error

        return run


class Building:
    """Another process, acted by a workshop of its own; it begins when it is let."""

    def __init__(self, engine: Copying, store: Store, stage: Small) -> None:
        self.may = threading.Event()
        self.times = 0
        self._workshop = EngineBuilder([engine], store, lambda _: None, builder=None, waits=True)
        self._stage = stage

    def __call__(self) -> Iterator[str]:
        self.times += 1
        assert self.may.wait(20)
        self._workshop(self._stage)(*call())
        yield "built"


def until_swapped(accelerated: AcceleratedStage) -> None:
    """Wait until no run of the stage is the stage as it is written."""
    for _ in range(1000):
        if not any(isinstance(run, FlatStage) for run in accelerated._runs.values()):
            return
        threading.Event().wait(0.01)
    raise AssertionError("no engine came")


def test_a_stage_runs_as_written_until_its_engine_is_there(tmp_path: Path, stage: Small) -> None:
    engine, store, said = Copying(), Store(tmp_path), []
    building = Building(engine, store, stage)
    stages = EngineBuilder([engine], store, said.append, builder=building, waits=False)
    accelerated = stages(stage)
    expected = stage(*call())
    for _ in range(3):
        torch.testing.assert_close(accelerated(*call()), expected)
    assert engine.runs == 0
    building.may.set()
    until_swapped(accelerated)
    ran = engine.runs
    torch.testing.assert_close(accelerated(*call()), expected)
    assert engine.runs == ran + 1
    assert said == ["built", "the copying engine of small runs, 200 dB against float32"]


def test_whoever_waits_has_the_engine_from_the_first_call_on(tmp_path: Path, stage: Small) -> None:
    engine, store = Copying(), Store(tmp_path)
    building = Building(engine, store, stage)
    building.may.set()
    accelerated = EngineBuilder([engine], store, lambda _: None, builder=building, waits=True)(
        stage
    )
    accelerated(*call())
    until_swapped(accelerated)


def test_the_second_start_builds_nothing(tmp_path: Path, stage: Small) -> None:
    first, second = Copying(), Copying()
    EngineBuilder([first], Store(tmp_path), lambda _: None, builder=None, waits=True)(stage)(
        *call()
    )
    assert first.built == 1
    second._structure = first._structure
    accelerated = EngineBuilder(
        [second], Store(tmp_path), lambda _: None, builder=None, waits=True
    )(stage)
    torch.testing.assert_close(accelerated(*call()), stage(*call()))
    assert (second.built, second.runs) == (0, 2)


def test_a_damaged_engine_is_built_anew(tmp_path: Path, stage: Small) -> None:
    engine = Copying()
    for _ in range(2):
        stages = EngineBuilder([engine], Store(tmp_path), lambda _: None, builder=None, waits=True)
        torch.testing.assert_close(stages(stage)(*call()), stage(*call()))
        [entry] = Store(tmp_path).entries()
        (entry.folder / "weights").write_bytes(b"not what was written")
    assert engine.built == 2


def test_an_engine_too_far_off_is_refused_with_the_figure_and_not_tried_again(
    tmp_path: Path, stage: Small
) -> None:
    engine, said = Copying(error=0.1), []
    for _ in range(2):
        stages = EngineBuilder([engine], Store(tmp_path), said.append, builder=None, waits=True)
        torch.testing.assert_close(stages(stage)(*call()), stage(*call()))
    assert engine.built == 1
    refused = [line for line in said if "refused" in line]
    assert len(refused) == 2
    assert "dB against float32, where float32 must reach 80" in refused[0]


def test_a_build_that_fails_is_told_and_the_stage_goes_on(tmp_path: Path, stage: Small) -> None:
    said: list[str] = []
    stages = EngineBuilder(
        [Copying(breaks=True)], Store(tmp_path), said.append, builder=None, waits=True
    )
    torch.testing.assert_close(stages(stage)(*call()), stage(*call()))
    assert said[1:] == [
        "the copying engine of small cannot be built: no such layer",
        "there is no copying engine of small; continuing without it",
    ]


@pytest.mark.parametrize("waits", [True, False])
def test_a_builder_that_dies_is_told_and_is_not_started_again(
    tmp_path: Path, stage: Small, waits: bool
) -> None:
    said: list[str] = []
    starts: list[None] = []

    def dying() -> Iterator[str]:
        starts.append(None)
        yield "building"
        raise EngineError("building engines ended with status -11")

    stages = EngineBuilder([Copying()], Store(tmp_path), said.append, builder=dying, waits=waits)
    accelerated = stages(stage)
    for rows in (2, 3):
        given = call(rows=rows)
        torch.testing.assert_close(accelerated(*given), stage(*given))
    for _ in range(500):
        if len(said) == 4:
            break
        threading.Event().wait(0.01)
    assert said[:2] == ["building", "building engines ended with status -11"]
    assert len(said) == 4
    assert len(starts) == 1


def test_each_set_of_shapes_has_an_engine_of_its_own(tmp_path: Path, stage: Small) -> None:
    engine = Copying()
    stages = EngineBuilder([engine], Store(tmp_path), lambda _: None, builder=None, waits=True)
    accelerated = stages(stage)
    for rows in (2, 3, 2, 3):
        given = call(rows=rows)
        torch.testing.assert_close(accelerated(*given), stage(*given))
    assert engine.built == 2


HALF = EagerEngine(torch.device("cpu"), torch.bfloat16)


def halved(stage: Small) -> tuple[Small, tuple[Tensor, Tensor, Told]]:
    """Return the stage in bfloat16, and a call whose conditions are in it too."""
    x, timesteps, told = call()
    return stage.bfloat16(), (x.bfloat16(), timesteps, Told(told.states.bfloat16(), None))


def test_a_stage_in_half_precision_is_judged_once_and_goes_on_where_it_comes_near(
    tmp_path: Path, stage: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, given = halved(stage)
    said: list[str] = []

    def start() -> Tensor:
        stages = EngineBuilder([HALF], Store(tmp_path), said.append, builder=None, waits=True)
        return stages(stage)(*given)

    assert torch.equal(start(), stage(*given))
    assert "the bfloat16 of small is ready" in said[-1]
    assert "dB against float32" in said[-1]
    monkeypatch.setattr(FlatStage, "in_float32", None)
    # The second start takes the verdict that is kept.
    assert torch.equal(start(), stage(*given))
    [entry] = Store(tmp_path).entries()
    assert entry.manifest["psnr"] > accuracy.MIN_PSNR[torch.bfloat16]


@pytest.mark.parametrize("waits", [True, False])
def test_a_stage_too_far_off_in_half_precision_goes_on_in_float32(
    tmp_path: Path, stage: Small, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    monkeypatch.setitem(accuracy.MIN_PSNR, torch.bfloat16, 90.0)
    in_float32 = stage(*call())
    stage, given = halved(stage)
    said: list[str] = []

    def builder() -> Iterator[str]:
        EngineBuilder([HALF], Store(tmp_path), said.append, builder=None, waits=True)(stage)(*given)
        yield "judged"

    accelerated = EngineBuilder([HALF], Store(tmp_path), said.append, builder=builder, waits=waits)(
        stage
    )
    first = accelerated(*given)
    until_swapped(accelerated)
    made = accelerated(*given)
    assert made.dtype == torch.float32
    assert accuracy.psnr(made, in_float32) > accuracy.psnr(stage(*given), in_float32)
    assert torch.equal(first, made if waits else stage(*given))
    refused = next(line for line in said if "is refused" in line)
    assert "the bfloat16 of small is refused" in refused
    assert "dB against float32, where bfloat16 must reach 90" in refused
    assert said[-1] == "small runs in float32 instead, which is slower"


def test_half_precision_is_judged_too_where_its_engine_is_refused(
    tmp_path: Path, stage: Small
) -> None:
    class Half(Copying):
        dtype = weights_dtype = torch.bfloat16

        def load(self, folder: Path) -> FlatForward:  # noqa: ARG002
            return lambda *tensors: torch.zeros_like(tensors[0])

    stage, given = halved(stage)
    said: list[str] = []
    engines = [Half(), HALF]
    stages = EngineBuilder(engines, Store(tmp_path), said.append, builder=None, waits=True)
    assert torch.equal(stages(stage)(*given), stage(*given))
    assert any("the copying engine of small is refused" in line for line in said)
    assert "the bfloat16 of small is ready" in said[-1]


def test_on_air_another_process_judges_half_precision(tmp_path: Path, stage: Small) -> None:
    stage, given = halved(stage)
    said: list[str] = []
    judged = threading.Event()

    def builder() -> Iterator[str]:
        judged.set()
        yield from ()

    stages = EngineBuilder([HALF], Store(tmp_path), said.append, builder=builder, waits=False)
    assert torch.equal(stages(stage)(*given), stage(*given))
    assert judged.wait(20)
    for _ in range(500):
        if said:
            break
        threading.Event().wait(0.01)
    # That process failed: it is said, and hides nothing.
    assert said == ["the bfloat16 of small could not be checked; it is used all the same"]
