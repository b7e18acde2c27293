"""The token that a page opened to the network asks for, over a real server."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from streamcam.sinks.preview import Preview
from streamcam.system.web_tokens import WebTokens
from tests.support.scenes import FakeBroadcastView

PATHS = ["", "obs", "stats", "after.jpg", "after.mjpg", "before.jpg", "nothing"]


async def tell_role(opened: WebSocket) -> None:
    """Send the role of the client."""
    await opened.accept()
    await opened.send_text(opened.scope["role"])
    await opened.close()


@pytest.fixture(scope="module")
def view() -> FakeBroadcastView:
    view = FakeBroadcastView()
    view.routes = [WebSocketRoute("/role", tell_role)]
    return view


@pytest.fixture(scope="module")
def page(view: FakeBroadcastView) -> Iterator[Preview]:
    with Preview("0.0.0.0", 0, view) as sink:
        yield sink


def from_host(host: str) -> httpx.Client:
    """Return a browser on another machine."""
    return httpx.Client(transport=httpx.HTTPTransport(local_address=host), timeout=5)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_a_token(page: Preview, path: str) -> None:
    answer = httpx.get(f"{page.url}{path}")
    assert answer.status_code == 401
    assert "open the link" in answer.text


def test_the_link_opens_the_page_and_its_cookie_all_else(
    page: Preview, view: FakeBroadcastView
) -> None:
    with from_host("127.0.0.2") as browser:
        answer = browser.get(view.tokens.links(f"{page.url}obs").operator)
        assert answer.status_code == 200
        flags = answer.headers["set-cookie"].lower()
        assert "httponly" in flags
        assert "samesite=strict" in flags
        assert browser.get(f"{page.url}stats").status_code == 200
        assert "set-cookie" not in browser.get(f"{page.url}stats").headers


def test_each_link_gives_its_role(page: Preview, view: FakeBroadcastView) -> None:
    socket_url = f"{page.url.replace('http', 'ws')}role"
    for role, link in view.tokens.links(socket_url)._asdict().items():
        with connect(link) as opened:
            assert opened.recv(timeout=5) == role
        cookie = f"streamcam_{urlsplit(page.url).port}={urlsplit(link).query[6:]}"
        with connect(socket_url, additional_headers={"Cookie": cookie}) as opened:
            assert opened.recv(timeout=5) == role
    with pytest.raises(InvalidStatus, match="401"), connect(socket_url):
        pass


def test_on_loopback_everybody_is_an_operator(view: FakeBroadcastView) -> None:
    with Preview("127.0.0.1", 0, view) as sink:
        with connect(f"{sink.url.replace('http', 'ws')}role?token=no") as opened:
            assert opened.recv(timeout=5) == "operator"
        assert "set-cookie" not in httpx.get(f"{sink.url}stats?token=no").headers


def test_a_token_that_was_set_is_asked_for_on_loopback_too() -> None:
    view = FakeBroadcastView()
    view.tokens = WebTokens("s3cret-t0ken")
    with Preview("127.0.0.1", 0, view) as sink:
        assert httpx.get(f"{sink.url}stats").status_code == 401
        bearer = {"Authorization": "Bearer s3cret-t0ken"}
        assert httpx.get(f"{sink.url}stats", headers=bearer).status_code == 200


def test_wrong_tokens_are_throttled_and_logged_once_without_them(
    page: Preview, view: FakeBroadcastView, caplog: pytest.LogCaptureFixture
) -> None:
    stats = f"{page.url}stats"
    links = view.tokens.links(stats)
    with from_host("127.0.0.3") as guessing, from_host("127.0.0.4") as other:
        assert other.get(links.operator).status_code == 200
        answers = [guessing.get(f"{stats}?token=guess{i}") for i in range(14)]
        assert [answer.status_code for answer in answers][:10] == [401] * 10
        assert answers[-1].status_code == 429
        assert answers[-1].headers["retry-after"]
        # The right one among many wrong ones is not found by trying.
        assert guessing.get(links.operator).status_code == 429
        assert other.get(stats).status_code == 200
    assert len(caplog.messages) == 1
    assert "127.0.0.3" in caplog.text
    assert "guess" not in caplog.text


def test_a_page_left_open_from_another_run_does_not_keep_out_the_new_link(
    page: Preview, view: FakeBroadcastView
) -> None:
    stale = {"Cookie": f"streamcam_{urlsplit(page.url).port}=old-token"}
    with from_host("127.0.0.5") as browser:
        statuses = [browser.get(f"{page.url}stats", headers=stale).status_code for _ in range(14)]
        assert statuses[-1] == 429
        assert browser.get(view.tokens.links(f"{page.url}obs").operator).status_code == 200
        assert browser.get(f"{page.url}stats").status_code == 200


@pytest.mark.parametrize("token", ["", "é", "\udcff", "x" * 9000])
def test_no_token_is_right_that_is_not_one_of_the_two(token: str) -> None:
    assert WebTokens("s3cret-t0ken").role_of(token) is None


def test_the_tokens_of_two_runs_differ_unless_one_is_set() -> None:
    assert WebTokens().links("/").operator != WebTokens().links("/").operator
    assert WebTokens("s3cret-t0ken").links("/") == WebTokens("s3cret-t0ken").links("/")
