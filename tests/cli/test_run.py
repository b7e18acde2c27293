"""``streamcam run`` as people run it: a process with files, signals and a log."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import av
import psutil
import pytest
from click.testing import CliRunner

import streamcam.cli.run as run_module
from streamcam.system.process_guard import module_path
from streamcam.types import Frame
from tests.runtime.broadcast_helpers import until
from tests.support.media import decoded, decoded_so_far
from tests.support.planted import NOT_BY_RUNPY, PlantedModules

SMALL = ["--source", "pattern", "--canvas", "320x180", "--width", "64", "--height", "64"]
QUIET = ["--set", "osc=false"]
EAGER = ["--acceleration", "eager"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "streamcam", "run", *SMALL, *QUIET, *map(str, arguments)]


@contextmanager
def running(*arguments: object, folder: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(*arguments),
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TERM": "dumb", "PYTHONPATH": module_path()},
        cwd=folder,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """Read the log up to the line that contains `words`, and return that line."""
    log: IO[str] = process.stderr  # type: ignore[assignment]
    for line in log:
        if words in line:
            return line
    raise AssertionError(f"{words!r} is not in the log")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, check=False
    )


def test_three_lines_explain_the_source_model_and_sink(tmp_path: Path) -> None:
    done = run("--sink", "null", "--duration", 0.2)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["source", "model", "sink"]
    assert "nano, which comes with streamcam" in lines[1]


def test_the_time_until_on_air_is_logged() -> None:
    with running("--model", "identity", "--sink", "null") as process:
        seconds = float(read_until(process, "on air after").split()[3])
        # Below one on an idle machine; tests share theirs.
        assert 0.05 < seconds < 20
        first = read_until(process, "the model's first output after").split()
        assert seconds <= float(first[5]) + 1 < 60


def test_on_air_is_not_logged_while_no_sink_is_open() -> None:
    done = run("--sink", "virtual-camera:no such label", "--duration", 1)
    assert "not on air: no sink is open yet" in done.stderr
    assert "on air after" not in done.stderr


class SlowSink:
    """A sink that takes its first frame slowly, and logs when it has it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> "SlowSink":
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def send(self, frame: Frame) -> None:  # noqa: ARG002
        if self.seconds:
            time.sleep(self.seconds)
            logging.getLogger("streamcam").info("the first frame was taken")
        self.seconds = 0.0


@pytest.mark.parametrize("timeout_s", [5.0, 0.0])
def test_on_air_is_logged_only_once_a_slow_sink_has_taken_a_frame(
    timeout_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "ON_AIR_TIMEOUT_S", timeout_s)
    monkeypatch.setattr("streamcam.api.open_live_sink", lambda *_: SlowSink(1.0))
    words = [*SMALL, *QUIET, "--model", "passthrough", "--sink", "null", "--duration", "3"]
    done = CliRunner().invoke(run_module.run, words, obj=time.monotonic())
    assert done.exit_code == 0, done.stderr
    lines = done.stderr.splitlines()
    [on_air] = [i for i, line in enumerate(lines) if line.startswith("on air after")]
    assert on_air > lines.index("the first frame was taken")
    assert ("not on air yet: no frame taken so far by null" in done.stderr) is (timeout_s == 0)


def test_an_output_that_cannot_go_on_ends_the_command_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no clock")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streamcam.control.state.Control.advance", fail)
    monkeypatch.setattr("streamcam.system.supervised_thread.MAX_FAILURES", 3)
    words = [*SMALL, *QUIET, "--model", "passthrough", "--sink", "null"]
    done = CliRunner().invoke(run_module.run, words, obj=time.monotonic())
    assert str(done.exception) == "the thread output fails again and again: no clock"


def test_a_status_that_cannot_be_shown_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no terminal")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streamcam.cli.reporting.Reporter.show", fail)
    words = [*SMALL, *QUIET, "--model", "passthrough", "--sink", "null", "--duration", "0.5"]
    done = CliRunner().invoke(run_module.run, words, obj=time.monotonic())
    assert done.exit_code == 0
    assert done.stderr.count("the status cannot be shown") == 1
    assert "off air" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_broadcast_within_two_seconds_and_finishes_its_files(
    tmp_path: Path, number: signal.Signals
) -> None:
    planted = PlantedModules(tmp_path / "planted", NOT_BY_RUNPY)
    shows = tmp_path / "shows"
    shows.mkdir()
    out = shows / "show.mkv"
    words = ("--model", "identity", "--sink", f"recorder:{out}", "--sink", "null")
    with running(*words, folder=planted.folder) as process:
        read_until(process, "the engine is running")
        until(lambda: decoded_so_far(shows / "show.partial.mkv") > 20, 120, every=0.2)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 2
        until(lambda: not any(child.is_running() for child in children), 5)
    assert decoded(out) > 20
    assert sorted(path.name for path in shows.iterdir()) == ["show.cues.jsonl", "show.mkv"]
    assert not planted.imported


def test_ctrl_c_during_the_start_stops_without_a_traceback() -> None:
    with running("--model", "identity", "--sink", "null") as process:
        read_until(process, "sink:")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_whole_process_group_can_be_interrupted_as_by_a_terminal() -> None:
    process = subprocess.Popen(
        command("--model", "identity", "--sink", "null"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        read_until(process, "the engine is running")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "the engine has" not in errors


def test_duration_ends_the_broadcast(tmp_path: Path) -> None:
    out = tmp_path / "show.mkv"
    assert run("--sink", f"recorder:{out}", "--duration", 2, "--fps", 25).returncode == 0
    with av.open(str(out)) as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    assert 1 < times[-1] < 4


def test_a_video_without_loop_ends_the_broadcast(tmp_path: Path) -> None:
    clip, out = tmp_path / "clip.mp4", tmp_path / "out.mkv"
    assert run("--sink", f"recorder:{clip}", "--duration", 1).returncode == 0
    done = run("--source", clip, "--sink", f"recorder:{out}", "--set", "loop=false")
    assert done.returncode == 0, done.stderr
    assert 0.6 * decoded(clip) < decoded(out) < 2.5 * decoded(clip)


def test_log_json_prints_one_json_object_per_line() -> None:
    done = run("--sink", "null", "--duration", 0.3, "--log-json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    assert any(line["message"].startswith("source:") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--sink", "virtul-camera"], 2, 'did you mean "virtual-camera"'),
        (["--sink", "recorder"], 2, "needs a file"),
        (["--sink", "recorder", "--model", "identity"], 2, "needs a file"),
        (["--source", "no-such-file.mp4"], 1, "no-such-file.mp4"),
        (["--canvas", "1280"], 2, "WIDTHxHEIGHT"),
        (["--canvas", "1281x720"], 2, "even"),
        (["--model", "./no-such-folder/model.safetensors", "--sink", "null"], 1, "no-such-folder"),
        (["--config", "no-such-preset"], 2, "no preset"),
        (["--set", "osc_prot=9"], 2, 'did you mean "osc_port"'),
    ],
)
def test_errors_are_one_line(arguments: list[str], code: int, words: str) -> None:
    done = run(*arguments, "--duration", 120)  # It ends by itself, long before.
    assert done.returncode == code, done.stderr
    assert words in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("streamcam: ")
    assert "Traceback" not in done.stderr


def test_a_model_runs_on_air(tmp_path: Path) -> None:
    tiny = ["--model", "random:tiny-sd-turbo", *EAGER]
    with running(*tiny, "--sink", "null", "--log-json") as process:
        assert "running" in read_until(process, "the engine is running")
