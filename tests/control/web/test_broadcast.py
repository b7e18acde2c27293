"""The control page of a whole broadcast, without a model."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import streamcam
from streamcam.errors import ConfigError
from tests.control.osc.running_server import Client, message
from tests.control.web.running_page import Page

OPEN = {
    "model": "passthrough",
    "source": "pattern",
    "sink": ("preview",),
    "preview_port": 0,
    "osc_port": 0,
    "web_bind": "0.0.0.0",
    "web_token": "s3cret-t0ken",
}


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[streamcam.Broadcast]:
    snapshots = str(tmp_path_factory.mktemp("snapshots"))
    with streamcam.Broadcast(**OPEN, snapshots=snapshots) as broadcast:
        broadcast.wait_until_sending(30)
        yield broadcast


def page_link(broadcast: streamcam.Broadcast, role: str) -> str:
    """Return the address of the WebSocket on this machine, with the token of a role."""
    links = broadcast.web_links()
    assert links
    port = urlsplit(links.operator).port
    return f"ws://127.0.0.1:{port}/control?{urlsplit(getattr(links, role)).query}"


def test_a_change_by_osc_shows_on_every_page(broadcast: streamcam.Broadcast) -> None:
    operator, viewer = (page_link(broadcast, role) for role in ("operator", "viewer"))
    assert broadcast.osc_port
    with (
        connect(operator) as one,
        connect(viewer) as other,
        Client(broadcast.osc_port) as osc,
    ):
        pages = [Page(one), Page(other)]
        osc.send("/streamcam/mix", 0.25)
        assert [page.next_value("mix") for page in pages] == [[0.25], [0.25]]


def test_a_viewer_sees_all_and_changes_nothing(broadcast: streamcam.Broadcast) -> None:
    with connect(page_link(broadcast, "viewer")) as opened:
        page = Page(opened)
        assert page.hello["role"] == "viewer"
        status = page.next("status")["status"]
        assert status["state"] == "passthrough"
        assert all(len(point) == 3 for point in status["latency_history"])
        ((address, reason),) = page.send(["/streamcam/panic", 1])["refused"]
        assert address == "/streamcam/panic"
        assert "viewing only" in reason
    assert not broadcast.parameters.panic


def test_a_viewer_changes_nothing_over_oscquery_either(broadcast: streamcam.Broadcast) -> None:
    link = page_link(broadcast, "viewer").replace("control", "")
    with connect(link) as opened:
        opened.send(message("/streamcam/blackout", 1))
        # Answered once what was sent before is handled.
        opened.send(json.dumps({"COMMAND": "LISTEN", "DATA": "/streamcam/blackout"}))
        assert opened.recv(timeout=5)
    assert not broadcast.parameters.blackout


def test_nobody_is_let_in_without_the_token(broadcast: streamcam.Broadcast) -> None:
    link = page_link(broadcast, "operator")
    for wrong in (link.partition("?")[0], f"{link}x"):
        with pytest.raises(InvalidStatus, match="401"), connect(wrong):
            pass
    assert "s3cret" not in json.dumps(broadcast.status().page)


def test_the_page_loads_nothing_that_does_not_come_with_it(broadcast: streamcam.Broadcast) -> None:
    page = page_link(broadcast, "operator").replace("ws:", "http:").replace("control", "")
    with httpx.Client() as browser:
        answer = browser.get(page, headers={"Accept": "text/html"})
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "://" not in answer.text
        missing = browser.get(page.replace("?", "assets/../page_routes.py?"))
        assert missing.status_code == 404


def test_a_page_sees_its_snapshot_saved_and_the_delay_for_a_microphone(
    broadcast: streamcam.Broadcast,
) -> None:
    with connect(page_link(broadcast, "operator")) as opened:
        page = Page(opened)
        page.send(["/streamcam/snapshot"])
        for _ in range(20):
            status = page.next("status")["status"]
            if status["last_snapshot"]:
                break
        assert Path(status["last_snapshot"]).is_file()
        assert status["microphone_delay_ms"] == round(status["latency_p50"] * 1000)
        assert [(sink["name"], sink["problem"]) for sink in status["sink_states"]] == [
            ("preview", None),
            ("snapshots", None),
        ]


def test_an_output_that_works_is_not_opened_again(broadcast: streamcam.Broadcast) -> None:
    with connect(page_link(broadcast, "operator")) as opened:
        page = Page(opened)
        retry = "/streamcam/sink/retry"
        assert page.send([retry])["refused"] == [[retry, "every output works"]]
        assert page.send([retry, "preview"])["refused"] == [[retry, "preview works"]]
        ((_, reason),) = page.send([retry, "previw"])["refused"]
        assert 'did you mean "preview"' in reason


@pytest.mark.parametrize("token", ["short", "with space", "x" * 129])
def test_a_token_that_is_none_is_refused_without_showing_it(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="web_token: takes 8 to 128 letters") as refused:
        streamcam.Broadcast(**OPEN | {"web_token": token})
    assert token not in str(refused.value)
    monkeypatch.setenv("STREAMCAM_WEB_TOKEN", token)
    with pytest.raises(ConfigError, match=r"web_token: .*STREAMCAM_WEB_TOKEN"):
        streamcam.Broadcast(**OPEN | {"web_token": None})
