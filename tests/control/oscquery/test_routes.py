from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import pytest
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonoscquery.osc_query_client import OSCQueryClient
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from zeroconf import ServiceInfo

from streamcam.control.messages import Message
from streamcam.control.oscquery import listeners
from streamcam.system.web_tokens import WebTokens
from tests.control.oscquery.serving import (
    OSC_PORT,
    Served,
    command,
    listening,
    received,
    served,
)

BROWSER = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    with served() as server:
        yield server


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as server:
        yield server


def packet(address: str, *arguments: object) -> bytes:
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)  # type: ignore[arg-type]
    return bytes(builder.build().dgram)


def test_a_client_of_others_queries_host_and_nodes(shared: Served) -> None:
    port = urlsplit(shared.url).port
    info = ServiceInfo(
        "_oscjson._tcp.local.", "x._oscjson._tcp.local.", port, addresses=[b"\x7f\0\0\1"]
    )
    client = OSCQueryClient(info)
    host = client.get_host_info()
    assert (host.name, host.osc_ip, host.osc_port) == ("streamcam", "127.0.0.1", OSC_PORT)
    assert host.osc_transport == "UDP"
    assert host.extensions["LISTEN"] is True
    root = client.query_node("/")
    assert root.find_subnode("/streamcam/guidance_scale").value == [1.2]
    assert client.query_node("/streamcam/mix").access == 3
    assert client.query_node("/streamcam/no_such") is None


def test_a_browser_gets_the_page_and_a_client_the_tree_at_the_root(shared: Served) -> None:
    assert "<html" in shared.get("/", accept=BROWSER).text
    assert "<html" in shared.get("/?view=both", accept=BROWSER).text
    assert shared.get("/?HOST_INFO", accept=BROWSER).json()["NAME"] == "streamcam"
    assert shared.get("/streamcam/mix", accept=BROWSER).json()["FULL_PATH"] == "/streamcam/mix"
    assert shared.json("/")["FULL_PATH"] == "/"
    assert shared.json("/stats")["state"] == "running"


@pytest.mark.parametrize(
    ("query", "status", "answer"),
    [
        ("/streamcam/mix?VALUE", 200, {"VALUE": [1.0]}),
        ("/streamcam/mix?TYPE", 200, {"TYPE": "f"}),
        ("/streamcam/mix/?RANGE", 200, {"RANGE": [{"MIN": 0.0, "MAX": 1.0}]}),
        ("/streamcam/mix?token=secret&VALUE", 200, {"VALUE": [1.0]}),
        ("/streamcam/prompt?VALUE", 200, {"VALUE": [""]}),
        ("/streamcam?ACCESS", 200, {"ACCESS": 0}),
        ("/streamcam/reset?VALUE", 204, None),
        ("/streamcam/prompt/a?VALUE", 204, None),
        ("/streamcam/mirror?RANGE", 204, None),
        ("/streamcam/mix?CONTENTS", 204, None),
        ("/streamcam/nothing", 404, None),
        ("/streamcam/nothing?VALUE", 404, None),
        ("/streamcam/mix?NONSENSE", 400, None),
        ("/streamcam/mix?VALUE&TYPE", 400, None),
        ("/?NONSENSE", 400, None),
    ],
)
def test_attributes_are_queried_one_by_one(
    shared: Served, query: str, status: int, answer: object
) -> None:
    response = shared.get(query)
    assert response.status_code == status
    if answer is not None:
        assert response.json() == answer


def test_what_listens_gets_the_value_now_and_whenever_it_changes(server: Served) -> None:
    with server.connect() as client:
        assert listening(client, "/streamcam/mix") == (1.0,)
        server.change("/streamcam/mix", 0.25)
        assert received(client) == Message("/streamcam/mix", (0.25,))
        assert listening(client, "/streamcam/mirror") == (False,)
        command(client, "IGNORE", "/streamcam/mix")
        server.change("/streamcam/mirror", 1)
        assert received(client) == Message("/streamcam/mirror", (True,))
        server.change("/streamcam/mix", 0.5)
        # As a 64-bit number, which it is declared as.
        command(client, "LISTEN", "/streamcam/seed/value")
        raw = client.recv(timeout=5)
        assert isinstance(raw, bytes)
        assert b",h" in raw
        assert listening(client, "/streamcam/stat/fps/in") == (30.0,)


def test_a_whole_folder_can_be_listened_to(server: Served) -> None:
    with server.connect() as client:
        command(client, "LISTEN", "/streamcam/prompt")
        assert received(client) == Message("/streamcam/prompt", ("",))
        command(client, "LISTEN", "/streamcam/prompt/a")
        assert received(client) == Message("/streamcam/prompt/a/text", ("",))
        assert received(client) == Message("/streamcam/prompt/a/weight", (1.0,))


def test_osc_that_a_client_sends_is_applied_and_not_echoed(server: Served) -> None:
    with server.connect() as client, server.connect() as other:
        listening(client, "/streamcam/mix")
        listening(other, "/streamcam/mix")
        client.send(packet("/streamcam/mix", 0.5))
        assert received(other) == Message("/streamcam/mix", (0.5,))
        client.send(packet("/streamcam/rotate", "sideways"))
        address, arguments = received(client)
        assert address == "/streamcam/error"
        assert arguments[0] == "/streamcam/rotate"
        # Beyond its range, so that another value was taken.
        client.send(packet("/streamcam/mix", 7.0))
        assert received(client) == Message("/streamcam/mix", (1.0,))
        client.send(packet("/streamcam/mix", 0.5))
        assert received(other) == Message("/streamcam/mix", (1.0,))
        assert received(other) == Message("/streamcam/mix", (0.5,))
        assert server.surface.control.target.mix == 0.5


def test_a_new_preset_changes_the_description_of_the_one_to_load(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.connect() as client:
        listening(client, "/streamcam/mix")
        monkeypatch.setattr(
            type(server.surface.presets), "names", property(lambda _: ("dusk", "neon"))
        )
        assert received(client) == {"COMMAND": "PATH_CHANGED", "DATA": "/streamcam/preset/load"}
        assert server.json("/streamcam/preset/load?RANGE") == {
            "RANGE": [{"VALS": ["dusk", "neon"]}]
        }


def close_code(client: ClientConnection) -> int | None:
    """Return the code that the server closes the connection with."""
    with suppress(ConnectionClosed):
        while True:
            client.recv(timeout=5)
    return client.close_code


def test_nonsense_is_reported_once_and_ends_only_its_own_connection(server: Served) -> None:
    nonsense = ["no json", "[" * 5000, "7", '{"COMMAND": "LISTEN"}', b"no osc"]
    with server.connect() as other:
        for message in nonsense:
            with server.connect() as client:
                client.send(message)
                assert listening(client, "/streamcam/mix") == (1.0,)
                with suppress(ConnectionClosed):
                    for _ in range(2 * listeners.FAULTS_AT_ONCE):
                        client.send(message)
                assert close_code(client) == 1008
        assert listening(other, "/streamcam/mix") == (1.0,)
    [line] = server.reports
    assert line.startswith("OSCQuery: 127.0.0.1 sends what is no command")


def test_a_message_that_is_too_long_closes_the_connection(shared: Served) -> None:
    with shared.connect() as client:
        client.send("x" * 100_000)
        assert close_code(client) == 1009


def test_there_is_room_for_so_many_clients(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "MAX_LISTENERS", 1)
    with server.connect() as client:
        listening(client, "/streamcam/mix")
        with pytest.raises(Exception, match="403"):
            server.connect()
    assert "1 clients listen already" in server.reports[0]


def test_hosts_outside_of_the_allowed_networks_are_refused() -> None:
    with served(osc_allow=["10.0.0.0/8"]) as server:
        assert server.get("/").status_code == 403
        assert server.get("/").status_code == 403
        with pytest.raises(Exception, match="403"):
            server.connect()
        assert server.reports == [
            "OSCQuery from 127.0.0.1 is refused, as it is in no network of osc_allow"
        ]


def test_a_link_for_viewing_only_shows_values_and_changes_none() -> None:
    tokens = WebTokens("operator-token")
    viewer = parse_qs(urlsplit(tokens.links("http://h/").viewer).query)["token"][0]
    with served(tokens) as server:
        assert server.get("/streamcam/mix?VALUE").status_code == 401
        assert server.json(f"/streamcam/mix?VALUE&token={viewer}") == {"VALUE": [1.0]}
        with server.connect(viewer) as client, server.connect("operator-token") as operator:
            listening(client, "/streamcam/mix")
            client.send(packet("/streamcam/mix", 0.25))
            command(client, "LISTEN", "/streamcam/delta")
            assert received(client) == Message("/streamcam/delta", (1.0,))
            assert server.surface.control.target.mix == 1.0
            operator.send(packet("/streamcam/mix", 0.5))
            assert received(client) == Message("/streamcam/mix", (0.5,))
        assert "viewing only" in server.reports[0]
