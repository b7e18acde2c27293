"""The control page over a real server and real WebSockets."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from streamcam.control.web.page_messages import MAX_ADDRESS
from streamcam.settings.base import traits
from streamcam.settings.parameters import Parameters
from streamcam.sinks import preview
from tests.control.web.running_page import RunningPage, running_page


@pytest.fixture(scope="module")
def server() -> Iterator[RunningPage]:
    with running_page() as running:
        yield running


def test_a_page_is_greeted_with_a_row_for_every_parameter(server: RunningPage) -> None:
    with server.page() as page:
        rows = {row["name"]: row for row in page.hello["table"]}
    for name, field in Parameters.model_fields.items():
        if traits(field).needs or traits(field).named_by:
            continue  # Of what is not in use here.
        assert rows[name]["address"] == f"/streamcam/{name}"
        assert rows[name]["group"] == traits(field).group
        assert rows[name]["description"]
    assert (rows["mix"]["low"], rows["mix"]["high"], rows["mix"]["fader"]) == (0, 1, [0, 1])
    assert rows["rotate"]["choices"] == ["0", "90", "180", "270"]
    # A browser would round it.
    assert rows["seed"]["high"] == str(2**63 - 1)


def test_a_page_is_greeted_with_all_values(server: RunningPage) -> None:
    with server.page() as page:
        values = page.hello["values"]
    for address, row in ((row["address"], row) for row in page.hello["table"]):
        if row["kind"] not in ("trigger", "command") and row["name"] not in (
            *("strength", "strength_person", "strength_background"),
            *("t_index_list", "preset/load"),
        ):
            assert len(values[address]) == 1, address


def test_a_page_is_shown_the_commands_that_can_be_run(server: RunningPage) -> None:
    with server.page() as page:
        assert "midi/learn" not in {row["name"] for row in page.hello["table"]}
    server.surface.commands.bind("midi/learn", lambda _arguments: None, lambda: ("strength",))
    with server.page() as page:
        rows = {row["name"]: row for row in page.hello["table"]}
        assert rows["midi/learn"]["kind"] == "command"
        assert page.hello["values"]["/streamcam/midi/learn"] == ["strength"]


def test_what_one_page_changes_shows_on_the_other(server: RunningPage) -> None:
    with server.page() as one, server.page() as other:
        reply = one.send(["/streamcam/mix", 0.25], ["/streamcam/prompt", "a fox"], id_="x")
        assert reply == {
            "type": "reply",
            "id": "x",
            "refused": [],
            "warnings": [],
            "unknown": [],
            "values": {},
        }
        assert other.next_value("mix") == [0.25]
        assert server.control.target.prompt == (("a fox", 1.0),)


def test_a_change_by_other_means_shows_on_every_page(server: RunningPage) -> None:
    with server.page() as one, server.page() as other:
        server.control.change({"detail": 0.5})
        assert one.next_value("detail") == other.next_value("detail") == [0.5]


def test_a_message_that_is_refused_is_answered_with_the_reason(server: RunningPage) -> None:
    with server.page() as page:
        reply = page.send(
            *(["/streamcam/rotate", "45"], ["/streamcam/guidance_scale", 99], ["/streamcam/nope"])
        )
        assert [address for address, _ in reply["refused"]] == ["/streamcam/rotate"]
        assert reply["unknown"] == ["/streamcam/nope"]
        # So that a control that went too far comes back.
        assert reply["values"] == {
            "/streamcam/guidance_scale": [30.0],
            "/streamcam/rotate": [server.control.target.rotate],
        }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{nope", "is no JSON"),
        ("[" * 50_000, "is no JSON"),
        ('"send"', "takes an object"),
        ('{"type": "dance"}', "known is"),
        ('{"type": "send", "id": [1]}', "id that is neither"),
        ('{"type": "send", "messages": 3}', "takes a list"),
        (json.dumps({"type": "send", "messages": [["/a"]] * 257}), "at most 256"),
        ('{"type": "send", "messages": [[3, 4]]}', "takes messages such as"),
        ('{"type": "send", "messages": [["/streamcam/mix", {"a": 1}]]}', "numbers and texts"),
        ('{"type": "send", "messages": [["/streamcam/mix", NaN]]}', "which is no number"),
        (b"\x00\x01", "messages are text"),
        (json.dumps({"type": "send", "messages": [["/" * 201]]}), "at most 200 characters"),
    ],
)
def test_a_malformed_message_is_answered_and_harms_nothing(
    server: RunningPage, text: str | bytes, reason: str
) -> None:
    with server.page() as page:
        assert reason in page.send_text(text)["refused"][0][1]
        assert page.send(["/streamcam/freeze", 0])["refused"] == []


@pytest.mark.parametrize(
    ("code", "sent"), [(1009, "x" * 70_000), (1007, b"\xff\xfe")], ids=["too long", "not UTF-8"]
)
def test_what_is_no_message_ends_the_connection_without_a_traceback(
    server: RunningPage,
    caplog: pytest.LogCaptureFixture,
    code: int,
    sent: str | bytes,
) -> None:
    with server.page() as page:
        page.socket.send(sent, text=True)
        with pytest.raises(ConnectionClosedError) as closed:
            page.next("nothing")
    assert closed.value.rcvd
    assert closed.value.rcvd.code == code
    assert [record.exc_info for record in caplog.records] in ([], [None])


def test_a_flood_is_limited_with_one_line_and_the_pages_are_served_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running_page(osc_rate=50) as server, server.page() as flooding, server.page() as other:
        packet = {"type": "send", "messages": [["/streamcam/mix", 0.5]] * 100}
        for _ in range(20):
            flooding.socket.send(json.dumps(packet))
        refused = [flooding.next("reply")["refused"] for _ in range(20)]
        # On a slow machine there is time for some more.
        limited = [reasons for reasons in refused if reasons]
        assert len(limited) > 10
        assert all("too many messages" in reasons[0][1] for reasons in limited)
        server.control.change({"mix": 0.75})
        while other.next_value("mix") != [0.75]:
            pass
    assert sum("osc_rate" in line for line in caplog.messages) == 1


def test_a_page_that_never_reads_holds_up_nobody_and_then_gets_the_newest_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preview, "SEND_BUFFER_BYTES", 4096)
    long = [[f"/{'x' * MAX_ADDRESS}{number}"[:MAX_ADDRESS]] for number in range(200)]
    with running_page() as server, server.stuck_page() as stuck, server.page() as other:
        for _ in range(4):
            # Their replies are more than the system holds for whoever does not read.
            stuck.socket.send(json.dumps({"type": "send", "messages": long}))
        other.send(["/streamcam/mix", 0.0])
        for step in range(12):
            server.control.change({"detail": step / 100})
            assert other.next_value("detail") == [step / 100]
        values = [stuck.next("values")]
        while values[-1]["values"].get("/streamcam/detail") != [0.11]:
            values.append(stuck.next("values"))
        assert len(values) < 6


def test_the_server_stops_with_pages_open_that_read_and_that_do_not() -> None:
    long = [[f"/{'x' * (MAX_ADDRESS - 1)}"]] * 200
    with running_page() as server, ExitStack() as stack:
        stuck = stack.enter_context(server.stuck_page())
        page = stack.enter_context(server.page())
        for _ in range(4):
            stuck.socket.send(json.dumps({"type": "send", "messages": long}))
        server.preview.__exit__(None, None, None)
        with pytest.raises(ConnectionClosed):
            page.next("nothing")
        # It is opened again after a failure, and serves pages as before.
        server.preview.__enter__()
        with server.page() as page:
            assert page.send(["/streamcam/mix", 1])["refused"] == []


def test_a_fade_shows_where_each_number_is_and_where_it_ends(server: RunningPage) -> None:
    server.control.change({"mix": 0.0})
    with server.page() as page:
        server.control.change({"mix": 1.0}, over=0.2)
        assert page.next_value("mix") == [1.0]
        shown = []
        while not shown or shown[-1] != 1.0:
            server.control.advance()
            shown.append(page.next("live")["values"]["mix"])
        assert shown == sorted(shown)
        assert any(0.0 <= number < 1.0 for number in shown)
