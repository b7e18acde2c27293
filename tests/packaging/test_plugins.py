"""A package of somebody else's, really installed, adds a source, a sink and an engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).with_name("plugin")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that pip has installed the plugin into."""
    folder = tmp_path_factory.mktemp("site")
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run(
        [sys.executable, "-m", "pip", *words, "--target", str(folder), str(PLUGIN)],
        check=True,
        timeout=120,
    )
    return folder


def streamcam(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "streamcam", *words],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_plugin_s_source_and_sink_go_on_air(installed: Path, tmp_path: Path) -> None:
    out = tmp_path / "count.txt"
    words = ["--source", "strobe", "--sink", f"counter:{out}", "--model", "passthrough"]
    words += ["--set", "osc=false", "--duration", "2"]
    done = streamcam(installed, "run", *words)
    assert done.returncode == 0, done.stderr
    count, seen = out.read_text().split(" ", 1)
    assert int(count) > 10
    assert "0" in seen
    assert "255" in seen


def test_a_plugin_s_engine_is_asked_and_its_reason_is_reported(
    installed: Path, tmp_path: Path
) -> None:
    words = ["--acceleration", "halting", "--model", "nano", "--frames", "1"]
    done = streamcam(installed, "render", "pattern", str(tmp_path / "a.npy"), *words)
    assert done.returncode == 1
    assert "halting runs nowhere, least of all on" in done.stderr


def test_without_the_plugin_its_kinds_are_unknown(tmp_path: Path) -> None:
    done = streamcam(tmp_path, "run", "--source", "strobe", "--sink", "null", "--duration", "1")
    assert done.returncode == 2
    assert 'no source or file "strobe"' in done.stderr
    done = streamcam(tmp_path, "run", "--sink", "counter", "--duration", "1")
    assert done.returncode == 2
    assert "counter" in done.stderr
