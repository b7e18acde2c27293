"""``streamcam bench targets``: the page has all figures, the machine, and what was left out."""

import json
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

import streamcam as streamcam_package
from benchmarks import targets_page
from benchmarks.target_table import Outcome
from benchmarks.targets import TargetConfigs, TargetRun
from streamcam.cli import _run, streamcam
from streamcam.settings.config_layers import build_config
from streamcam.version import __version__
from tests.support.media import run_script
from tests.support.streams import TINY


def test_a_gpu_runs_the_shapes_of_sd_turbo_and_the_cpu_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nano, small, none = targets_page.configs_here()
    assert (nano.model, nano.width, nano.device, none) == ("nano", 256, "cpu", None)
    assert (small.model, small.width, small.device) == ("random:small-sd-turbo", 256, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu = targets_page.configs_here().gpu
    assert gpu is not None
    assert (gpu.model, gpu.width, gpu.height) == ("random:sd-turbo", 512, 512)
    assert (gpu.num_steps, gpu.dtype, gpu.device) == (1, "float16", "cuda")


@pytest.fixture
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = build_config([TINY, {"width": 32, "height": 32}])
    monkeypatch.setattr(targets_page, "configs_here", lambda: TargetConfigs(tiny, tiny, None))


@pytest.mark.usefixtures("_tiny")
def test_a_dated_page_is_written_without_figures_that_were_not_measured(
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
    assert "≥ 250 fps |  |  | needs an NVIDIA GPU |" in text
    assert "- eager float32: the time was over" in text


@pytest.mark.usefixtures("_tiny")
def test_the_page_of_an_earlier_run_stays(tmp_path: Path) -> None:
    words = ["bench", "targets", "--minutes", "0", "--write", str(tmp_path)]
    assert _run(lambda **how: streamcam.main(words, **how)) == 0
    [page] = tmp_path.iterdir()
    page.write_text("mine")
    assert _run(lambda **how: streamcam.main(words, **how)) == 0
    assert page.read_text() == "mine"
    assert len(list(tmp_path.glob("20??-??-??-targets-*-2.md"))) == 1


@pytest.mark.usefixtures("_tiny")
def test_figures_measured_before_it_was_stopped_are_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: TargetRun) -> Iterator[Outcome]:
        raise KeyboardInterrupt

    monkeypatch.setattr(TargetRun, "_small", stopped)
    words = ["bench", "targets", "--minutes", "0", "--write", str(tmp_path)]
    assert _run(lambda **how: streamcam.main(words, **how)) != 0
    [page] = tmp_path.glob("*-targets-*.md")
    assert "- eager float32: the time was over" in page.read_text(encoding="utf-8")


def test_a_checkout_that_is_not_installed_can_be_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(targets_page, "version", missing)
    assert targets_page.facts_of(targets_page.configs_here())["streamcam"] == __version__


@pytest.mark.usefixtures("_tiny")
def test_json_is_printed_and_the_page_is_also_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "targets", "--minutes", "0", "--json", "--write", str(tmp_path)]
    assert _run(lambda **how: streamcam.main(words, **how)) == 0
    figures = json.loads(capsys.readouterr().out)
    assert len(figures["rows"]) == 10
    assert figures["rows"][0]["figure"] is None
    assert figures["machine"]["cores"]
    assert len(list(tmp_path.glob("*-targets-*.md"))) == 1


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    words = ["bench", "targets", "--write", str(tmp_path / "taken" / "pages")]
    assert _run(lambda **how: streamcam.main(words, **how)) == 1
    printed = capsys.readouterr()
    assert "cannot write into" in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out


def test_an_installed_streamcam_says_that_targets_need_a_checkout() -> None:
    script = """
        from streamcam.cli import _run, streamcam
        # As a wheel is found: without the folder next to the package.
        sys.path[:] = [p for p in sys.path if not (Path(p) / "benchmarks" / "targets.py").exists()]
        sys.exit(_run(lambda **how: streamcam.main(["bench", "targets"], **how)) - 1)
    """
    [line] = run_script(script, "", errors=True).splitlines()
    assert line.startswith("streamcam: bench targets measures a checkout")
    assert "make bench" in line


def test_the_product_imports_the_benchmarks_of_the_checkout_in_one_place_only() -> None:
    package = Path(streamcam_package.__file__).parent
    named = re.compile(r"^\s*(from|import) benchmarks\b|[\"']benchmarks[\"'.]", re.MULTILINE)
    modules = [p for p in package.rglob("*.py") if named.search(p.read_text(encoding="utf-8"))]
    assert modules == [package / "cli" / "bench_targets.py"]
