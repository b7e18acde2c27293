"""The check of a card: each section reports, fails or hangs alone; on a processor all is small."""

import json
import os
import signal
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check import section_process
from benchmarks.gpu_check.answers_section import in_float32
from benchmarks.gpu_check.check_run import CheckRun, ResultsFile
from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import Reading, SectionEnd
from benchmarks.gpu_check.section_process import SectionRunner
from benchmarks.gpu_check.section_table import Section, sections
from benchmarks.gpu_check.summary import Outcomes, target_table
from benchmarks.published_stream import PublishedStream
from benchmarks.target_table import GPU_CHECK, ONE, OUTSIDE_GRAPHS, Outcome
from streamcam.errors import EngineError
from streamcam.settings.config import ACCELERATIONS
from tests.diffusion.test_stream import stand_in
from tests.support import preloaded
from tests.support.streams import RecordingStream, images, moving


def behaviour(check: CheckSettings, engine: str) -> Any:
    """Stand for a section; what it does is named as its engine."""
    yield Reading("before", {"fps": 1.0})
    if engine == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if engine == "hangs":
        time.sleep(60)
    if engine == "cannot":
        raise EngineError("it cannot run here; choose another")
    if engine == "bug":
        raise ValueError("a bug")
    yield Outcome(ONE, 300.0, "fast")


@pytest.fixture(scope="module")
def runner() -> Iterator[SectionRunner]:
    """Return a runner whose processes are forked as those of other tests are."""
    before, section_process.PRELOADED = section_process.PRELOADED, preloaded.PRELOADED
    yield SectionRunner()
    section_process.PRELOADED = before


def section(engine: str, least_s: float = 0.0) -> Section:
    return Section(engine, f"{__name__}:behaviour", 60, least_s, engine=engine)


@pytest.mark.parametrize(
    ("engine", "seconds", "status", "why"),
    [
        ("works", 60, "ok", ""),
        ("dies", 60, "failed", "its process was ended by SIGKILL"),
        ("hangs", 3, "failed", "it took longer than"),
        ("cannot", 60, "failed", "it cannot run here; choose another"),
        ("bug", 60, "failed", "a bug"),
    ],
)
def test_a_section_that_fails_keeps_what_it_measured_before_and_says_why(
    runner: SectionRunner, tmp_path: Path, engine: str, seconds: float, status: str, why: str
) -> None:
    deadline = time.monotonic() + seconds
    settings = CheckSettings(str(tmp_path), is_small=True, deadline=deadline)
    first, *_, end = runner.run(section(engine), settings, tmp_path / "log")
    assert first == Reading("before", {"fps": 1.0})
    assert isinstance(end, SectionEnd)
    assert end.status == status
    assert why in end.why
    assert "\n" not in end.why
    if engine in ("hangs", "bug"):
        assert "behaviour" in (tmp_path / "log").read_text()  # The place, for developers.


def check_run(folder: Path, chosen: list[Section], *, minutes: float, passes: int) -> CheckRun:
    file = ResultsFile((folder / "results.jsonl").open("w", encoding="utf-8"), pytest.fail)
    return CheckRun(chosen, minutes, passes, False, folder, folder, file)


@pytest.mark.usefixtures("runner")
def test_sections_run_again_for_the_spread_but_for_those_that_failed(tmp_path: Path) -> None:
    run = check_run(tmp_path, [section("works"), section("bug")], minutes=1, passes=2)
    assert [(number, one.name) for number, one, _ in run.run()] == [
        (1, "works"),
        (1, "bug"),
        (2, "works"),
    ]
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines[:3]] == ["reading", "target", "end"]
    assert (
        lines[1] | {"target": ONE.what, "figure": 300.0, "pass": 1, "section": "works"} == lines[1]
    )


@pytest.mark.usefixtures("runner")
def test_a_section_that_cannot_end_in_time_is_not_begun(tmp_path: Path) -> None:
    [(_, _, [end])] = check_run(tmp_path, [section("works", 99)], minutes=1, passes=1).run()
    assert end == SectionEnd("not run", "the time was over", 0.0)


def test_the_median_of_the_best_of_each_pass_counts_with_its_spread() -> None:
    outcomes = Outcomes()
    for number, figure, note in ((1, 10, "eager"), (1, 90, "graph"), (2, 80, "graph"), (3, 99, "")):
        outcomes.add(number, Outcome(ONE, figure, note))
        outcomes.add(number, Outcome(OUTSIDE_GRAPHS, figure, note))
    by_target = {outcome.target: outcome for outcome in outcomes.all()}
    assert tuple(by_target) == GPU_CHECK
    assert by_target[ONE] == (ONE, 90, "graph; 80 to 99 in 3 passes")
    assert by_target[OUTSIDE_GRAPHS].figure == 80  # The least of each pass.
    assert [o.note for o in outcomes.all() if o.figure is None] == ["not measured"] * 10
    met = target_table(outcomes.all(), is_small=False).columns[3]
    assert [*met.cells].count("no") == 2
    assert not any(target_table(outcomes.all(), is_small=True).columns[3].cells)


def test_every_engine_that_is_built_has_its_sections() -> None:
    names = [one.name for one in sections()]
    for engine in set(ACCELERATIONS) - {"auto", "eager", "graph"}:
        assert {engine, f"{engine} 4 frames", f"{engine} start"} <= set(names)
    assert names.index("1 step") < names.index("compiled") < names.index("compiled start")
    for one in sections():
        module, function = one.function.split(":")
        assert callable(getattr(import_module(module), function))


def test_the_published_code_gives_the_same_images() -> None:
    recording = RecordingStream(cfg_type="none", t_index_list=[32, 45])
    published = PublishedStream(recording.config, torch.device("cpu"), torch.float32)
    frames = moving(4)
    theirs = np.concatenate([published(frame.image) for frame in frames])[1:]
    ours = images(recording(frames))[:3]
    assert np.abs(255 * theirs - ours).max() < 1.01
    assert ours.std() > 5


def invoke(*words: str) -> Result:
    return CliRunner().invoke(command.main, words)


def test_mistakes_are_named_in_one_line_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    for words, said in (
        (["--only", "answer"], 'gpu_check: no section "answer": did you mean "answers"?'),
        (["--out", str(tmp_path / "taken" / "out")], "gpu_check: cannot write into"),
    ):
        result = invoke(*words)
        assert result.exit_code in (1, 2)
        [line] = result.output.splitlines()
        assert line.startswith(said)


def test_ctrl_c_leaves_the_figures_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: CheckRun) -> Any:
        yield 1, section("works"), [Outcome(ONE, 123.0, "graph"), SectionEnd("ok", "", 1.0)]
        raise KeyboardInterrupt

    monkeypatch.setattr(CheckRun, "run", interrupted)
    result = invoke("--out", str(tmp_path))
    assert result.exit_code == 130
    assert "stopped" in result.output
    assert "123.00 fps" in result.output


@pytest.mark.usefixtures("runner")
def test_engines_are_compared_with_float32_and_not_with_tf32() -> None:
    seen: list[tuple[str, bool]] = []

    class Watched(nn.Module):
        def forward(self, latents: Tensor) -> Tensor:
            precision = torch.get_float32_matmul_precision()
            seen.append((precision, torch.backends.cudnn.allow_tf32))
            return latents

    reference = in_float32(
        stand_in()._replace(encode=Watched(), denoise=Watched(), decode=Watched())
    )
    before = torch.get_float32_matmul_precision()
    try:
        # As on a GPU, for what is float32 in a model of another dtype.
        torch.set_float32_matmul_precision("high")
        reference.decode(torch.zeros(1))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [("highest", False)]


def test_on_a_processor_the_answers_are_checked_on_a_tiny_model(tmp_path: Path) -> None:
    result = invoke("--only", "answers", "--small", "--minutes", "2", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    text = (tmp_path / "results.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    figures = {line["name"]: line["values"] for line in lines if line["kind"] == "reading"}
    assert figures["stages against float32"].keys() == {"encode, dB", "denoise, dB", "decode, dB"}
    assert figures["eager against float32"]["dB of whole images"] > 30
    assert any("they need an NVIDIA GPU" in line.get("why", "") for line in lines)
    assert lines[-1]["status"] == "ok"
