"""Time tags: when bundles are applied, and how many may wait."""

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamcam.control.osc.packets import IMMEDIATELY, read_parts
from streamcam.control.osc.time_tags import (
    MAX_WAITING,
    MAX_WAITING_OF_HOST,
    UNIX_EPOCH,
    TimedQueue,
    seconds_ahead,
)
from streamcam.errors import ParameterError
from tests.control.osc.running_server import bundle, message, running_server
from tests.runtime.broadcast_helpers import until

NOW = 1_795_000_000.25
END_OF_ERA = 2.0**32 - UNIX_EPOCH


@pytest.mark.parametrize("now", [NOW, END_OF_ERA - 1, END_OF_ERA + 1])
@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.floats(-1000, 1000))
def test_a_time_tag_is_seconds_ahead_of_now_also_where_ntp_time_begins_again(
    now: float, ahead: float
) -> None:
    tag = round((now + ahead + UNIX_EPOCH) * 2**32) % 2**64
    assume(tag > IMMEDIATELY)
    assert seconds_ahead(tag, now) == pytest.approx(ahead, abs=1e-5)


def test_immediately_is_now() -> None:
    assert seconds_ahead(IMMEDIATELY, NOW) == 0


def test_a_bundle_within_another_is_due_at_the_later_of_their_times() -> None:
    inner = bundle(message("/inner"))
    later = bundle(message("/later"), when=NOW + 2)
    packet = bundle(message("/a"), inner, later, message("/b"), when=NOW)
    parts = [
        (round(seconds_ahead(tag, NOW), 3), [m.address for m in messages])
        for tag, messages in read_parts(packet)
    ]
    assert parts == [(0.0, ["/a", "/inner"]), (2.0, ["/later"]), (0.0, ["/b"])]


def test_the_queue_gives_what_is_due_in_its_order_and_has_room_for_every_host() -> None:
    queue = TimedQueue[int]()
    assert queue.wait_s(0.0) == float("inf")
    for number in range(MAX_WAITING_OF_HOST):
        queue.put(10.0 - number % 2, "a", number)
    with pytest.raises(ParameterError, match="128 bundles of a wait"):
        queue.put(1.0, "a", 0)
    queue.put(1.0, "b", -1)
    assert queue.wait_s(0.5) == 0.5
    assert next(iter(queue.due(1.0))) == -1
    assert [*queue.due(8.0)] == []
    due = [*queue.due(10.0)]
    assert due == [*range(1, MAX_WAITING_OF_HOST, 2), *range(0, MAX_WAITING_OF_HOST, 2)]
    for number in range(MAX_WAITING):
        queue.put(1.0, f"host {number}", number)
    with pytest.raises(ParameterError, match="in all"):
        queue.put(1.0, "a", 0)


def test_a_bundle_of_the_future_waits_as_a_whole_and_panic_does_not() -> None:
    with running_server() as running:
        due = time.time() + 0.4
        packet = bundle(
            message("/streamcam/seed", 7),
            message("/streamcam/panic", 1),
            message("/streamcam/delta", 0.5),
            when=due,
        )
        before = running.after_raw(packet)
        assert (before.panic, before.seed, before.delta) == (True, 2, 1.0)
        until(lambda: running.control.target.seed == 7)
        assert running.control.target.delta == 0.5
        # Earlier than the tag by the latency that the figures give, and not by more.
        assert time.time() >= due - 0.125 - 0.5 / 24.5 - 0.01


def test_a_bundle_of_the_past_applies_now_and_one_too_far_ahead_is_refused() -> None:
    with running_server() as running:
        past = bundle(message("/streamcam/seed", 7), when=time.time() - 3600)
        assert running.after_raw(past).seed == 7
        running.client.raw(bundle(message("/streamcam/seed", 9), when=time.time() + 60))
        [error] = [m for m in running.client.settle() if m.address == "/streamcam/error"]
        assert error.arguments[0] == "/streamcam/seed"
        assert "stamped 60.0 s ahead" in str(error.arguments[1])
        assert "osc_time_tags=false" in str(error.arguments[1])
        assert running.control.target.seed == 7


def test_a_flood_of_future_bundles_is_refused_and_the_server_stays_in_reach() -> None:
    with running_server() as running:
        later = bundle(message("/streamcam/seed", 9), when=time.time() + 9)
        for _ in range(MAX_WAITING_OF_HOST + 20):
            running.client.raw(later)
        assert running.after("/streamcam/delta", 0.5).delta == 0.5
        assert running.server.counts["refused"] == 20
        assert running.control.target.seed == 2
