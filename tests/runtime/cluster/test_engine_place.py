"""The actor that serves an engine: what becomes of it when serving fails."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from streamcam.errors import DeviceError
from streamcam.runtime.cluster import engine_place
from streamcam.runtime.cluster.engine_place import EnginePlace
from streamcam.runtime.cluster.engine_request import request_text
from streamcam.settings.config_layers import build_config

Ready = Callable[[int], None]


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A request, in a process of Ray."""
    context = SimpleNamespace(get_node_id=lambda: "abc")
    util = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")
    ray = SimpleNamespace(get_runtime_context=lambda: context, util=util)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.chdir(tmp_path)
    return request_text(build_config([{"model": "nano", "engine": "ray://localhost:1"}]))


def serve_with(monkeypatch: pytest.MonkeyPatch, run: Callable[[Ready], None]) -> None:
    class Server:
        is_ready = False

        def __init__(self, *_: object) -> None: ...

        def frames_taken(self) -> dict[str, int]:
            return {}

        async def run(self, _host: str, _port: int, on_ready: Ready) -> None:
            run(on_ready)

    monkeypatch.setattr(engine_place, "EngineServer", Server)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (DeviceError("port 1 is in use"), "port 1 is in use"),
        (ZeroDivisionError("x"), "the engine cannot be served: x"),
    ],
)
def test_what_cannot_be_served_is_a_failure_with_the_reason(
    request_: str, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    def run(_: Ready) -> None:
        raise error

    serve_with(monkeypatch, run)
    place = EnginePlace(request_)
    place.serving.join(10)
    assert place.status([])["failure"] == why


def test_a_server_that_breaks_on_air_ends_the_process_so_that_ray_starts_another(
    request_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, statuses = threading.Event(), list[int]()

    def leave(status: int) -> None:
        statuses.append(status)
        ended.set()

    def run(on_ready: Ready) -> None:
        on_ready(1234)
        raise ZeroDivisionError

    monkeypatch.setattr(os, "_exit", leave)
    serve_with(monkeypatch, run)
    place = EnginePlace(request_)
    assert ended.wait(10)
    place.serving.join(10)
    assert statuses == [1]
