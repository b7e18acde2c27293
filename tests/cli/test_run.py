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

import streamcam.cli.run as on_air
from streamcam.types import Frame
from tests.runtime.broadcast_helpers import until
from tests.support.media import decoded, decoded_so_far

SMALL = ["--source", "pattern", "--canvas", "320x180", "--width", "64", "--height", "64"]
QUIET = ["--set", "osc=false"]
EAGER = ["--acceleration", "eager"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "streamcam", "run", *SMALL, *QUIET, *map(str, arguments)]


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(*arguments), stderr=subprocess.PIPE, text=True, env=os.environ | {"TERM": "dumb"}
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def said(process: subprocess.Popen[str], words: str) -> str:
    """Read its log up to the line that has `words`."""
    log: IO[str] = process.stderr  # type: ignore[assignment]
    for line in log:
        if words in line:
            return line
    raise AssertionError(f"it never said {words!r}")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, check=False
    )


def test_three_lines_say_what_was_chosen(tmp_path: Path) -> None:
    done = run("--sink", "null", "--duration", 0.2)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["source", "model", "sink"]
    assert "streamcam models pull" in lines[1]


def test_it_says_how_soon_it_was_on_air() -> None:
    with running("--model", "identity", "--sink", "null") as process:
        seconds = float(said(process, "on air after").split()[3])
        # Below one on an idle machine; tests share theirs.
        assert 0.05 < seconds < 20


def test_it_does_not_claim_to_be_on_air_while_no_sink_is_open() -> None:
    done = run("--sink", "virtual-camera:no such label", "--duration", 1)
    assert "not on air: no sink is open yet" in done.stderr
    assert "on air after" not in done.stderr


class Slow:
    """A sink that takes its time with its first picture, and logs when it has it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> "Slow":
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def send(self, frame: Frame) -> None:  # noqa: ARG002
        if self.seconds:
            time.sleep(self.seconds)
            logging.getLogger("streamcam").info("the first picture was taken")
        self.seconds = 0.0


@pytest.mark.parametrize("patience", [5.0, 0.0])
def test_it_says_that_it_is_on_air_only_once_a_slow_sink_has_taken_a_picture(
    patience: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_air, "OPEN_S", patience)
    monkeypatch.setattr(on_air, "open_sink", lambda *_: Slow(1.0))
    words = [*SMALL, *QUIET, "--model", "passthrough", "--sink", "null", "--duration", "3"]
    done = CliRunner().invoke(on_air.run, words, obj=time.monotonic())
    assert done.exit_code == 0, done.stderr
    lines = done.stderr.splitlines()
    [announced] = [i for i, line in enumerate(lines) if line.startswith("on air after")]
    assert announced > lines.index("the first picture was taken")
    assert ("not on air yet: null took no picture so far" in done.stderr) is (patience == 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_within_two_seconds_and_leaves_nothing_half_done(
    tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "show.mkv"
    with running("--model", "identity", "--sink", f"recorder:{out}", "--sink", "null") as process:
        said(process, "the engine is running")
        until(lambda: decoded_so_far(tmp_path / "show.partial.mkv") > 20, 120, every=0.2)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 2
        until(lambda: not any(child.is_running() for child in children), 5)
    assert decoded(out) > 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["show.cues.jsonl", "show.mkv"]


def test_ctrl_c_in_the_first_moments_stops_it_without_a_trace() -> None:
    with running("--model", "identity", "--sink", "null") as process:
        said(process, "sink:")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_whole_process_group_can_be_interrupted_as_a_terminal_does() -> None:
    process = subprocess.Popen(
        command("--model", "identity", "--sink", "null"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said(process, "the engine is running")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "the engine has" not in errors


def test_a_duration_ends_it(tmp_path: Path) -> None:
    out = tmp_path / "show.mkv"
    assert run("--sink", f"recorder:{out}", "--duration", 2, "--fps", 25).returncode == 0
    with av.open(str(out)) as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    assert 1 < times[-1] < 4


def test_a_video_can_be_played_once_and_ends_the_broadcast(tmp_path: Path) -> None:
    clip, out = tmp_path / "clip.mp4", tmp_path / "out.mkv"
    assert run("--sink", f"recorder:{clip}", "--duration", 1).returncode == 0
    done = run("--source", clip, "--sink", f"recorder:{out}", "--set", "loop=false")
    assert done.returncode == 0, done.stderr
    assert 0.6 * decoded(clip) < decoded(out) < 2.5 * decoded(clip)


def test_a_log_for_services_is_one_json_object_a_line() -> None:
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
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], code: int, words: str) -> None:
    done = run(*arguments, "--duration", 120)  # It ends by itself, long before.
    assert done.returncode == code, done.stderr
    assert words in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("streamcam: ")
    assert "Traceback" not in done.stderr


def test_a_model_is_put_on_air(tmp_path: Path) -> None:
    tiny = ["--model", "random:tiny-sd-turbo", *EAGER]
    with running(*tiny, "--sink", "null", "--log-json") as process:
        assert "running" in said(process, "the engine is running")
