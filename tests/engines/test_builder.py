"""Stages get their engines while they run: at once, later, or never, without waiting."""

import json
import pickle
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from streamcam.bench.start_time import BUILDING
from streamcam.engines import accuracy, stage_build
from streamcam.engines.build_progress import BuildProgress
from streamcam.engines.builder import AcceleratedStage, EngineBuilder, WeightsSource
from streamcam.engines.eager import EagerEngine
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.engines.store import MANIFEST, Store
from streamcam.errors import EngineError
from tests.engines.conftest import Conditioning, Small, call, small
from tests.runtime.broadcast_helpers import until


class CopyEngine:
    """An engine that is a copy of the stage, and counts its builds and runs."""

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


class FakeBuildProcess:
    """A child process played by a builder of its own; it starts when `may` is set."""

    def __init__(self, engine: CopyEngine, store: Store, stage: Small) -> None:
        self.may = threading.Event()
        self.times = 0
        self._builder = EngineBuilder([engine], store, lambda _: None, builder=None, waits=True)
        self._stage = stage

    def __call__(self) -> Iterator[str]:
        self.times += 1
        assert self.may.wait(20)
        self._builder(self._stage)(*call())
        yield "built"


def wait_until_swapped(accelerated: AcceleratedStage) -> None:
    """Wait until no run of the stage is the stage as it is written."""
    for _ in range(1000):
        if not any(isinstance(run, FlatStage) for run in accelerated._runs.values()):
            return
        threading.Event().wait(0.01)
    raise AssertionError("no engine came")


def test_a_stage_runs_as_written_until_its_engine_is_there(tmp_path: Path, stage: Small) -> None:
    engine, store, lines = CopyEngine(), Store(tmp_path), []
    building = FakeBuildProcess(engine, store, stage)
    stages = EngineBuilder([engine], store, lines.append, builder=building, waits=False)
    accelerated = stages(stage)
    expected = stage(*call())
    for _ in range(3):
        torch.testing.assert_close(accelerated(*call()), expected)
    assert engine.runs == 0
    assert not stages.is_settled
    building.may.set()
    wait_until_swapped(accelerated)
    until(lambda: stages.is_settled)
    runs_before = engine.runs
    torch.testing.assert_close(accelerated(*call()), expected)
    assert engine.runs == runs_before + 1
    assert lines == ["built", "the copying engine of small runs, 200 dB against float32"]


def test_with_waits_the_first_call_runs_on_the_engine(tmp_path: Path, stage: Small) -> None:
    engine, store = CopyEngine(), Store(tmp_path)
    building = FakeBuildProcess(engine, store, stage)
    building.may.set()
    accelerated = EngineBuilder([engine], store, lambda _: None, builder=building, waits=True)(
        stage
    )
    accelerated(*call())
    wait_until_swapped(accelerated)


def test_the_second_start_builds_nothing(tmp_path: Path, stage: Small) -> None:
    first, second = CopyEngine(), CopyEngine()
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


def test_a_damaged_engine_is_built_again(tmp_path: Path, stage: Small) -> None:
    engine = CopyEngine()
    for _ in range(2):
        stages = EngineBuilder([engine], Store(tmp_path), lambda _: None, builder=None, waits=True)
        torch.testing.assert_close(stages(stage)(*call()), stage(*call()))
        [entry] = Store(tmp_path).entries()
        (entry.folder / "weights").write_bytes(b"not what was written")
    assert engine.built == 2


def test_an_inaccurate_engine_is_refused_with_its_psnr_and_not_tried_again(
    tmp_path: Path, stage: Small
) -> None:
    engine, lines = CopyEngine(error=0.1), []
    for _ in range(2):
        stages = EngineBuilder([engine], Store(tmp_path), lines.append, builder=None, waits=True)
        torch.testing.assert_close(stages(stage)(*call()), stage(*call()))
    assert engine.built == 1
    refused = [line for line in lines if "refused" in line]
    assert len(refused) == 2
    assert "dB against float32, where float32 must reach 80" in refused[0]


def test_a_failed_build_is_reported_and_the_stage_runs_on(tmp_path: Path, stage: Small) -> None:
    lines: list[str] = []
    stages = EngineBuilder(
        [CopyEngine(breaks=True)], Store(tmp_path), lines.append, builder=None, waits=True
    )
    torch.testing.assert_close(stages(stage)(*call()), stage(*call()))
    assert lines[1:] == [
        "the copying engine of small cannot be built: no such layer",
        "there is no copying engine of small; continuing without it",
    ]


@pytest.mark.parametrize("waits", [True, False])
def test_a_build_process_that_dies_is_reported_and_not_started_again(
    tmp_path: Path, stage: Small, waits: bool
) -> None:
    lines: list[str] = []
    starts: list[None] = []

    def dying() -> Iterator[str]:
        starts.append(None)
        yield "building"
        raise EngineError("building engines ended with status -11")

    stages = EngineBuilder(
        [CopyEngine()], Store(tmp_path), lines.append, builder=dying, waits=waits
    )
    accelerated = stages(stage)
    for rows in (2, 3):
        given = call(rows=rows)
        torch.testing.assert_close(accelerated(*given), stage(*given))
    for _ in range(500):
        if len(lines) == 4:
            break
        threading.Event().wait(0.01)
    assert lines[:2] == ["building", "building engines ended with status -11"]
    assert len(lines) == 4
    assert len(starts) == 1


def test_each_set_of_shapes_has_an_engine_of_its_own(tmp_path: Path, stage: Small) -> None:
    engine = CopyEngine()
    stages = EngineBuilder([engine], Store(tmp_path), lambda _: None, builder=None, waits=True)
    accelerated = stages(stage)
    for rows in (2, 3, 2, 3):
        given = call(rows=rows)
        torch.testing.assert_close(accelerated(*given), stage(*given))
    assert engine.built == 2


HALF = EagerEngine(torch.device("cpu"), torch.bfloat16)


def halved(stage: Small) -> tuple[Small, tuple[Tensor, Tensor, Conditioning]]:
    """Return the stage in bfloat16, and a call whose conditions are in it too."""
    x, timesteps, conditioning = call()
    return stage.bfloat16(), (
        x.bfloat16(),
        timesteps,
        Conditioning(conditioning.states.bfloat16(), None),
    )


def test_a_stage_in_half_precision_is_checked_once_and_kept_where_it_is_accurate(
    tmp_path: Path, stage: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, given = halved(stage)
    lines: list[str] = []

    def start() -> Tensor:
        stages = EngineBuilder([HALF], Store(tmp_path), lines.append, builder=None, waits=True)
        return stages(stage)(*given)

    assert torch.equal(start(), stage(*given))
    assert "the bfloat16 of small is ready" in lines[-1]
    assert "dB against float32" in lines[-1]
    monkeypatch.setattr(FlatStage, "in_float32", None)
    # The second start uses the stored result.
    assert torch.equal(start(), stage(*given))
    [entry] = Store(tmp_path).entries()
    assert entry.manifest["psnr"] > accuracy.MIN_PSNR[torch.bfloat16]


def test_a_check_that_takes_long_does_not_say_that_something_is_built(
    tmp_path: Path, stage: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, given = halved(stage)
    lines: list[str] = []
    has_reported = threading.Event()

    def report(line: str) -> None:
        lines.append(str(line))
        has_reported.set()

    def slow_check(*_: Any) -> float:
        assert has_reported.wait(20)
        return 70.0

    monkeypatch.setattr(stage_build, "BuildProgress", partial(BuildProgress, interval_s=0.001))
    monkeypatch.setattr(stage_build, "check_accuracy", slow_check)
    EngineBuilder([HALF], Store(tmp_path), report, builder=None, waits=True)(stage)(*given)
    assert lines[0].startswith("checking the bfloat16 of small (1 of 1): ")
    # Benchmarks of the start end where an engine is missing.
    assert not any(line.startswith(BUILDING) for line in lines)


@pytest.mark.parametrize("waits", [True, False])
def test_a_stage_that_is_inaccurate_in_half_precision_runs_in_float32(
    tmp_path: Path, stage: Small, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    monkeypatch.setitem(accuracy.MIN_PSNR, torch.bfloat16, 90.0)
    in_float32 = stage(*call())
    stage, given = halved(stage)
    lines: list[str] = []

    def builder() -> Iterator[str]:
        EngineBuilder([HALF], Store(tmp_path), lines.append, builder=None, waits=True)(stage)(
            *given
        )
        yield "checked"

    accelerated = EngineBuilder(
        [HALF], Store(tmp_path), lines.append, builder=builder, waits=waits
    )(stage)
    first = accelerated(*given)
    wait_until_swapped(accelerated)
    made = accelerated(*given)
    assert made.dtype == torch.float32
    assert accuracy.psnr(made, in_float32) > accuracy.psnr(stage(*given), in_float32)
    assert torch.equal(first, made if waits else stage(*given))
    refused = next(line for line in lines if "is refused" in line)
    assert "the bfloat16 of small is refused" in refused
    assert "dB against float32, where bfloat16 must reach 90" in refused
    assert lines[-1] == "small runs in float32 instead, which is slower"


def test_half_precision_is_also_checked_where_its_engine_is_refused(
    tmp_path: Path, stage: Small
) -> None:
    class Half(CopyEngine):
        dtype = weights_dtype = torch.bfloat16

        def load(self, folder: Path) -> FlatForward:  # noqa: ARG002
            return lambda *tensors: torch.zeros_like(tensors[0])

    stage, given = halved(stage)
    lines: list[str] = []
    engines = [Half(), HALF]
    stages = EngineBuilder(engines, Store(tmp_path), lines.append, builder=None, waits=True)
    assert torch.equal(stages(stage)(*given), stage(*given))
    assert any("the copying engine of small is refused" in line for line in lines)
    assert "the bfloat16 of small is ready" in lines[-1]


def test_on_air_a_child_process_checks_half_precision(tmp_path: Path, stage: Small) -> None:
    stage, given = halved(stage)
    lines: list[str] = []
    checked = threading.Event()

    def builder() -> Iterator[str]:
        checked.set()
        yield from ()

    stages = EngineBuilder([HALF], Store(tmp_path), lines.append, builder=builder, waits=False)
    assert torch.equal(stages(stage)(*given), stage(*given))
    assert checked.wait(20)
    for _ in range(500):
        if lines:
            break
        threading.Event().wait(0.01)
    # That process failed, which is reported.
    assert lines == ["the bfloat16 of small could not be checked; it is used all the same"]


def test_requests_are_served_after_one_that_would_end_the_thread(
    tmp_path: Path, stage: Small
) -> None:
    errors = [SystemExit(1)]

    def report(line: str) -> None:
        if errors:
            raise errors.pop()
        lines.append(line)

    lines: list[str] = []
    stages = EngineBuilder([CopyEngine()], Store(tmp_path), report, builder=list, waits=False)
    stages(stage)(*call())
    stages(small(seed=1))(*call())
    for _ in range(500):
        if lines:
            break
        threading.Event().wait(0.01)
    assert lines[0].startswith("there is no copying engine of small")


def test_a_build_that_breaks_unexpectedly_is_reported_and_later_requests_are_served(
    tmp_path: Path, stage: Small
) -> None:
    def builder() -> Iterator[str]:
        raise MemoryError("no memory left")

    lines: list[str] = []
    engine, store = CopyEngine(), Store(tmp_path)
    stages = EngineBuilder([engine], store, lines.append, builder=builder, waits=False)
    for seed, count in ((0, 1), (1, 2)):
        another = small(seed=seed)
        torch.testing.assert_close(stages(another)(*call()), another(*call()))
        for _ in range(500):
            if len(lines) == count:
                break
            threading.Event().wait(0.01)
    assert lines[0] == "no engine for small: no memory left"
    assert lines[1].startswith("there is no copying engine of small")


def lines_until(lines: list[str], count: int) -> list[str]:
    for _ in range(2000):
        if len(lines) >= count:
            break
        threading.Event().wait(0.01)
    return lines


def test_a_report_that_fails_does_not_end_the_thread_that_waits_for_engines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if len(lines) <= 2:
            raise MemoryError

    stages = EngineBuilder([CopyEngine()], Store(tmp_path), report, builder=list, waits=False)
    for seed in (0, 1):
        stages(small(seed=seed))(*call())
    assert lines_until(lines, 3)[-1].startswith("there is no copying engine of small")
    assert "no engine for small" in caplog.text


def test_a_thread_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    stages = EngineBuilder([CopyEngine()], Store(tmp_path), lines.append, builder=list, waits=False)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        stages(small(seed=0))(*call())
    [line] = lines
    assert line.startswith("no engine for small yet: cannot start the thread engines: ")
    stages(small(seed=1))(*call())
    # That of the first stage too.
    assert [line.partition(";")[0] for line in lines_until(lines, 3)[1:]] == [
        "there is no copying engine of small"
    ] * 2


def test_an_entry_without_an_accuracy_is_not_used_and_named(tmp_path: Path, stage: Small) -> None:
    engine, store, lines = CopyEngine(), Store(tmp_path), []
    EngineBuilder([engine], store, lambda _: None, builder=None, waits=True)(stage)(*call())
    (entry,) = store.entries()
    manifest = json.loads((entry.folder / MANIFEST).read_text())
    del manifest["psnr"]
    (entry.folder / MANIFEST).write_text(json.dumps(manifest | {"ms": {}}))
    stages = EngineBuilder([engine], store, lines.append, builder=None, waits=True)
    torch.testing.assert_close(stages(stage)(*call()), stage(*call()))
    assert lines[-1].endswith(f'run "streamcam engines remove {entry.key}"')


def test_a_refusal_that_cannot_be_stored_is_reported(tmp_path: Path, stage: Small) -> None:
    engine, lines = CopyEngine(error=1.0), []

    class FullAfterwards(Store):
        def create(self, key: str, manifest: dict[str, Any]) -> AbstractContextManager[Path]:
            if "refused" in manifest:
                raise EngineError("no space left on the disk")
            return super().create(key, manifest)

    stages = EngineBuilder(
        [engine], FullAfterwards(tmp_path), lines.append, builder=None, waits=True
    )
    torch.testing.assert_close(stages(stage)(*call()), stage(*call()))
    assert "the copying engine of small cannot be built: no space left on the disk" in lines


def test_the_hash_of_weights_is_remembered_while_their_files_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def counted(stage: torch.nn.Module) -> str:
        hashed.append(type(stage).__name__)
        return "hash"

    monkeypatch.setattr("streamcam.engines.builder.hash_weights", counted)
    (tmp_path / "engines").mkdir()

    def start(source: WeightsSource | None) -> None:
        builder = EngineBuilder(
            [CopyEngine()],
            Store(tmp_path / "engines"),
            lambda _: None,
            builder=None,
            waits=True,
            source=source,
        )
        builder(small())(*call())

    known = WeightsSource("settings", "files")
    for source in (known, known, WeightsSource("settings", "changed"), known):
        start(source)
    assert len(hashed) == 3, "the same files twice need no second hash"
    for source in (None, None, WeightsSource("other", None), WeightsSource("other", None)):
        start(source)
    assert len(hashed) == 7, "unknown or changing files are hashed each time"
