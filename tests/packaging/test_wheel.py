"""The wheel in a fresh environment: presets, nano, types and going on air; for ``make dist``."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

WHEEL = os.environ.get("STREAMCAM_WHEEL", "")
pytestmark = [
    pytest.mark.skipif(not WHEEL, reason="STREAMCAM_WHEEL names no wheel; run make dist"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment that has the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    wheel = str(Path(WHEEL).resolve())
    subprocess.run([scripts / "python", "-m", "pip", "install", "--quiet", wheel], check=True)
    return scripts


def environment() -> dict[str, str]:
    """Return the variables of a shell in which no checkout is to be found."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(folder: Path, program: Path, *words: str) -> str:
    """Return what a program prints, run in `folder`."""
    done = subprocess.run(
        [program, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_it_goes_on_air_with_a_preset_and_nano(scripts: Path, tmp_path: Path) -> None:
    words = ["--config", "pencil", "--model", "nano", "--source", "demo", "--set", "osc=false"]
    process = subprocess.Popen(
        [scripts / "streamcam", "run", *words, "--sink", "recorder:show.mkv"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        log = ""
        # The first start reads and compiles modules from a disk that may be slow.
        while "the engine is running" not in log:
            line = process.stderr.readline()
            assert line, log
            log += line
        assert "on air after" in log
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "show.mkv").stat().st_size > 10_000


def test_presets_and_the_version_are_there(scripts: Path, tmp_path: Path) -> None:
    assert "version 0." in run(tmp_path, scripts / "streamcam", "--version")
    shown = run(tmp_path, scripts / "streamcam", "config", "show", "neon")
    assert "neon" in shown


def test_the_public_api_is_typed_and_runs(scripts: Path, tmp_path: Path) -> None:
    script = (
        "import numpy as np, streamcam, pathlib\n"
        "assert pathlib.Path(streamcam.__file__).with_name('py.typed').exists()\n"
        "stream = streamcam.open_stream(model='nano', prompt='pencil sketch')\n"
        "image = np.zeros((360, 640, 3), np.uint8)\n"
        "outputs = [out for _ in range(4) for out in stream(image)] + list(stream.flush())\n"
        "print(len(outputs), outputs[0].image.shape)\n"
    )
    assert run(tmp_path, scripts / "python", "-c", script).startswith("4 (")
