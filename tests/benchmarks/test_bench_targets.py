"""``streamcam bench targets``: the page says what was measured, on what, and what was left out."""

import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from benchmarks.targets import Outcome, Subjects, Targets
from streamcam.cli import _run, bench_targets, streamcam
from streamcam.settings.config import build_config
from streamcam.version import __version__
from tests.support.streams import TINY


def test_a_card_takes_the_shapes_of_sd_turbo_and_the_processor_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nano, small, none = bench_targets.subjects_here()
    assert (nano.model, nano.width, nano.device, none) == ("nano", 256, "cpu", None)
    assert (small.model, small.width, small.device) == ("random:small-sd-turbo", 256, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    card = bench_targets.subjects_here().card
    assert card is not None
    assert (card.model, card.width, card.height) == ("random:sd-turbo", 512, 512)
    assert (card.num_steps, card.dtype, card.device) == (1, "float16", "cuda")


@pytest.fixture
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = build_config([TINY, {"width": 32, "height": 32}])
    monkeypatch.setattr(bench_targets, "subjects_here", lambda: Subjects(tiny, tiny, None))


@pytest.mark.usefixtures("_tiny")
def test_a_dated_page_is_written_and_no_figure_is_made_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "targets", "--minutes", "0", "--write", str(tmp_path / "pages")]
    assert _run(lambda **how: streamcam.main(words, **how)) == 0
    [page] = (tmp_path / "pages").glob("20??-??-??-targets-*.md")
    text = page.read_text(encoding="utf-8")
    assert text == capsys.readouterr().out
    assert text.startswith("# Targets, ")
    for word in ("cores", "torch", "streamcam"):
        assert f"{word} " in text.splitlines()[2]
    rows = [line for line in text.splitlines() if line.startswith(("| any", "| CPU", "| GPU"))]
    assert len(rows) == 10
    assert "| any | pipeline time / bare model calls | ≤ 1.03 × |  |  | the time was over" in text
    assert "≥ 250 fps |  |  | needs an NVIDIA card |" in text
    assert "- eager float32: the time was over" in text


@pytest.mark.usefixtures("_tiny")
def test_what_was_measured_before_it_was_stopped_is_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: Targets) -> Iterator[Outcome]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Targets, "_small", stopped)
    words = ["bench", "targets", "--minutes", "0", "--write", str(tmp_path)]
    assert _run(lambda **how: streamcam.main(words, **how)) != 0
    [page] = tmp_path.glob("*-targets-*.md")
    assert "- eager float32: the time was over" in page.read_text(encoding="utf-8")


def test_a_checkout_that_is_not_installed_can_be_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(bench_targets, "version", missing)
    assert bench_targets.facts_of(bench_targets.subjects_here())["streamcam"] == __version__


@pytest.mark.usefixtures("_tiny")
def test_the_figures_are_there_for_a_program_and_the_page_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "targets", "--minutes", "0", "--json", "--write", str(tmp_path)]
    assert _run(lambda **how: streamcam.main(words, **how)) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["rows"]) == 10
    assert told["rows"][0]["figure"] is None
    assert told["machine"]["cores"]
    assert len(list(tmp_path.glob("*-targets-*.md"))) == 1


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    words = ["bench", "targets", "--write", str(tmp_path / "taken" / "pages")]
    assert _run(lambda **how: streamcam.main(words, **how)) == 1
    told = capsys.readouterr()
    assert "cannot write into" in told.err
    assert "Traceback" not in told.err
    assert not told.out
