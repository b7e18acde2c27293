"""Another process prepares an engine beside the one on air: on a CPU, at the lowest priority."""

import io
import os
from collections.abc import Iterator

import pytest

from streamcam.errors import EngineError, ModelError
from streamcam.pipelines import LoadedStream
from streamcam.runtime import engine_preparation
from streamcam.runtime.engine_worker import Identity
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config


@pytest.mark.parametrize(("device", "lines"), [("cpu", ["one", "two"]), ("cuda:0", [])])
def test_only_where_the_cores_are_shared_there_is_something_to_prepare(
    monkeypatch: pytest.MonkeyPatch, device: str, lines: list[str]
) -> None:
    monkeypatch.setattr(engine_preparation, "build_in_child", lambda _main, _config: ["one", "two"])
    monkeypatch.setattr("streamcam.diffusion.memory_need.check_room", lambda _config: None)
    reported: list[str] = []
    engine_preparation.prepare(build_config([{"device": device}]), reported.append)
    assert reported == lines


def test_a_failure_comes_with_the_last_line_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_main: str, _config: Config) -> Iterator[str]:
        yield "a file is missing"
        raise EngineError("status 1")

    monkeypatch.setattr(engine_preparation, "build_in_child", fail)
    with pytest.raises(EngineError, match="status 1: a file is missing"):
        engine_preparation.prepare(build_config([{"device": "cpu"}]), lambda _line: None)


class Loaded(Identity):
    """Stream that says when it has been warmed up."""

    def warm_up(self) -> None:
        print("warm")


@pytest.fixture
def niceness(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the settings to read, and return what this process asks for its priority."""
    asked: list[int] = []
    config = build_config([{"model": "nano", "threads": 4}])
    monkeypatch.setattr("sys.stdin", io.StringIO(config.model_dump_json() + "\n"))
    monkeypatch.setattr(os, "nice", asked.append, raising=False)
    monkeypatch.setattr(engine_preparation, "end_with_parent", lambda *_args, **_kwargs: None)
    monkeypatch.setattr(engine_preparation, "prefer_as_oom_victim", lambda _by: None)
    return asked


def test_the_process_loads_the_stream_with_its_engines_on_one_thread(
    monkeypatch: pytest.MonkeyPatch, niceness: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    def load(config: Config, _report: object, *, live: bool) -> LoadedStream:
        assert (config.threads, config.engine_wait, live) == (1, True, True)
        return Loaded()

    monkeypatch.setattr(engine_preparation, "load_stream", load)
    engine_preparation.serve()
    assert niceness == [19]
    assert capsys.readouterr().out == "warm\n"


@pytest.mark.usefixtures("niceness")
def test_the_process_says_why_a_stream_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_args: object, **_kwargs: object) -> LoadedStream:
        raise ModelError("a file is missing")

    monkeypatch.setattr(engine_preparation, "load_stream", fail)
    with pytest.raises(SystemExit):
        engine_preparation.serve()
    assert capsys.readouterr().out == "a file is missing\n"
