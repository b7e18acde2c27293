"""``streamcam cluster``: what it prints of the places, and what it refuses."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from streamcam.cli import cluster_command as module
from streamcam.cli.cluster_command import cluster

PLACE = {
    **{"name": "place-1", "state": "running", "node": "ab12cd34ef", "host": "10.0.0.2"},
    **{"engine": "10.0.0.2:4411", "model": "nano", "size": "448x256", "gpus": 0.25, "cpus": 1.0},
    **{"room": 2, "streams": {"laptop 3f": 29.9, "studio 77": 12.0}},
}
SPARE = PLACE | {"name": "place-2", "node": "ff00", "room": 1, "streams": {}, "state": "loading"}
STATUS = {
    "places": [PLACE, SPARE],
    "silent_nodes": ["0123456789ab"],
    "refusals": [{"at": 0.0, "stream": "tablet 1", "why": "no node has room\x1b[31m"}],
}


def answer(monkeypatch: pytest.MonkeyPatch, result: Any, *words: str) -> str:
    """Return the output of a command on a cluster whose pool answers `result`."""
    monkeypatch.setattr(module, "check_cluster", lambda _address: None)
    monkeypatch.setattr(module, "ask_pool", lambda _address, _call: result)
    outcome = CliRunner().invoke(cluster, words, catch_exceptions=False)
    assert outcome.exit_code == 0
    return outcome.output


def test_the_status_lists_each_stream_with_its_place_and_the_spares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = answer(monkeypatch, STATUS, "status").splitlines()
    assert rows[1].split()[:4] == ["10.0.0.2", "ab12cd34", "nano", "448x256"]
    assert "0.25 GPU, 1 CPU" in rows[1]
    assert rows[1].endswith("29.9")
    assert rows[2].split() == ["studio", "77", "12.0"]
    assert "loading" in rows[3]
    assert "(spare)" in rows[3]
    assert rows[4] == "streams: 2, on nodes: 2, frames/s in all: 41.9, room for more at once: 1"
    assert rows[5].startswith("silent: node 01234567")
    assert "tablet 1: no node has room" in rows[6]
    assert "\x1b" not in rows[6]


def test_the_status_is_there_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(answer(monkeypatch, STATUS, "status", "--json")) == STATUS


def test_a_cluster_that_nobody_has_used_has_no_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("status", "stop"):
        assert "nobody has asked" in answer(monkeypatch, None, command)
    assert answer(monkeypatch, 3, "stop") == "ended 3 engines\n"


@pytest.mark.parametrize("address", ["10.0.0.2:8093", "ray://", "ray://a@b"])
def test_an_address_of_no_cluster_is_refused(address: str) -> None:
    outcome = CliRunner().invoke(cluster, ["status", "--address", address])
    assert "HOST:PORT" in str(outcome.exception)
