"""The control page over a real server and real WebSockets."""

import json
from collections.abc import Iterator

import pytest

from streamcam.settings.base import traits
from streamcam.settings.parameters import Parameters
from tests.control.web.running_page import RunningPage, running_page


@pytest.fixture(scope="module")
def server() -> Iterator[RunningPage]:
    with running_page() as running:
        yield running


def test_a_page_is_greeted_with_a_row_for_every_parameter(server: RunningPage) -> None:
    with server.page() as page:
        rows = {row["name"]: row for row in page.hello["table"]}
    for name, field in Parameters.model_fields.items():
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
            *("strength", "t_index_list", "preset/load"),
        ):
            assert len(values[address]) == 1, address


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
    ],
)
def test_a_malformed_message_is_answered_and_harms_nothing(
    server: RunningPage, text: str | bytes, reason: str
) -> None:
    with server.page() as page:
        assert reason in page.send_text(text)["refused"][0][1]
        assert page.send(["/streamcam/freeze", 0])["refused"] == []
