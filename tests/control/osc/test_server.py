"""The OSC server over real sockets."""

import socket
import struct
import time
from threading import Event, Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamcam.control.osc.feedback import MAX_SUBSCRIBERS
from streamcam.control.osc.packets import BUNDLE
from streamcam.control.osc.server import OscServer
from streamcam.control.state import Control
from streamcam.errors import ConfigError, DeviceError
from streamcam.settings.config import build_config
from streamcam.version import __version__
from tests.control.osc.osc_desk import STATUS, Client, bundle, message, switcher

HANGS_PYTHON_OSC = BUNDLE + bytes(8) + struct.pack(">i", -4) + bytes(8)


def test_a_message_reaches_the_next_snapshot() -> None:
    with switcher() as on:
        assert on.after("/streamcam/guidance_scale", 1.4).guidance_scale == 1.4
        assert on.control.parameters.guidance_scale == 1.4


def test_touchdesigner_sends_floats_in_bundles_stamped_with_the_future() -> None:
    with switcher() as on:
        packet = bundle(
            message("/streamcam/seed", 7.0, types="f"),
            message("/streamcam/num_inference_steps", 40.0, types="f"),
            when=time.time() + 60,
        )
        after = on.after_raw(packet)
        assert (after.seed, after.num_inference_steps) == (7, 40)


def test_touchosc_toggles_are_floats_and_its_buttons_fire_on_press_alone() -> None:
    with switcher() as on:
        assert on.after("/streamcam/freeze", 1.0).freeze
        assert not on.after("/streamcam/freeze", 0.0).freeze
        for value in (1.0, 1.0, 0.0, 1.0, 0.0):
            on.client.send("/streamcam/reset", value)
        assert on.after("/streamcam/reset", 0.0).reset == 2


def test_no_snapshot_ever_holds_half_a_bundle() -> None:
    with switcher(seed=0, delta=0) as on:
        published: list[tuple[int, float]] = []
        on.control.listen(lambda _before, after: published.append((after.seed, after.delta)))
        for seed in range(1, 300):
            on.client.raw(
                bundle(message("/streamcam/seed", seed), message("/streamcam/delta", seed / 100))
            )
        on.client.settle()
        assert published == [(seed, seed / 100) for seed in range(1, 300)]


def test_what_is_refused_or_unknown_in_a_bundle_hinders_nothing_else() -> None:
    with switcher() as on:
        packet = bundle(
            message("/streamcam/delta", 0.5),
            message("/streamcam/deltta", 0.7),
            message("/streamcam/guidance_scale", float("nan")),
            message("/streamcam/t_index_list", 1, 2, 3, 4, 5),
            message("/streamcam/seed", 9),
        )
        on.client.raw(packet)
        errors = [m for m in on.client.settle() if m.address == "/streamcam/error"]
        after = on.control.target
        assert (after.delta, after.seed, after.guidance_scale) == (0.5, 9, 1.2)
        assert {(m.arguments[0], str(m.arguments[1])[:20]) for m in errors} == {
            ("/streamcam/deltta", "is unknown: did you "),
            ("/streamcam/guidance_scale", "takes a finite numbe"),
            ("/streamcam/t_index_list", "t_index_list has 5 e"),
        }
        assert (on.server.counts["refused"], on.server.counts["unknown"]) == (2, 1)
        assert on.reports


def test_a_bundle_of_nothing_but_refusals_changes_nothing() -> None:
    with switcher() as on:
        before = on.control.parameters
        on.after_raw(bundle(message("/streamcam/t_index_list", 1), message("/x")))
        assert on.control.parameters is before


def test_the_desk_goes_on_after_every_kind_of_bad_packet() -> None:
    with switcher() as on:
        bad = [HANGS_PYTHON_OSC, b"", b"\xff" * 100, message("/streamcam/delta", b"blob")]
        bad += [message("/" + "*" * 32, 1), message("/{a,b}[!x]?", 1), bytes(9000)]
        for number, packet in enumerate(bad):
            assert on.after_raw(packet, message("/streamcam/seed", number)).seed == number
        assert on.server.counts["malformed"] == 5
        assert on.server.counts["unknown"] == 2


@settings(
    derandomize=True,
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(packets=st.lists(st.binary(max_size=200), min_size=1, max_size=20), number=st.integers(0))
def test_no_bytes_keep_the_next_good_message_from_working(
    packets: list[bytes], number: int, fuzzed: "Fuzzed"
) -> None:
    seed = number % 2**31
    for packet in packets:
        fuzzed.client.raw(packet)
        fuzzed.client.raw(b"/streamcam/\0" + packet[: len(packet) // 4 * 4])
        fuzzed.client.raw(BUNDLE + packet)
    fuzzed.client.send("/streamcam/seed", seed)
    end = time.monotonic() + 5
    while fuzzed.control.target.seed != seed and time.monotonic() < end:
        time.sleep(0.001)
    assert fuzzed.control.target.seed == seed
    assert fuzzed.server.counts["failed"] == 0


class Fuzzed:
    """A desk for many examples."""

    def __init__(self, server: OscServer, control: Control, client: Client) -> None:
        self.server, self.control, self.client = server, control, client


@pytest.fixture(scope="module")
def fuzzed():  # type: ignore[no-untyped-def]
    with switcher(osc_rate=100_000) as on:
        yield Fuzzed(on.server, on.control, on.client)


def test_an_error_of_ours_is_reported_and_the_desk_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with switcher() as on:

        def broken(*_arguments: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(on.server._dispatcher, "apply", broken)
        on.after("/streamcam/seed", 5)
        monkeypatch.undo()
        assert on.after("/streamcam/seed", 6).seed == 6
        assert on.server.counts["failed"] == 1
        assert "a bug" in on.reports[0]


def test_only_the_networks_allowed_are_heard() -> None:
    with switcher(osc_allow="10.0.0.0/8") as on:
        on.client.send("/streamcam/seed", 5)
        on.client.send("/streamcam/ping")
        assert list(on.client.receive(0.4)) == []
        assert on.control.target.seed == 2
        assert on.server.counts["not allowed"] == 2


def test_a_host_that_sends_too_much_is_heard_in_part_and_others_wholly() -> None:
    with switcher(osc_rate=100) as on, Client(on.server.port, "127.0.0.2") as other:
        for seed in range(2000):
            on.client.send("/streamcam/seed", seed)
        other.send("/streamcam/delta", 0.5)
        assert other.settle() == []
        assert on.control.target.delta == 0.5
        assert on.server.counts["over the rate"] > 1000


def test_long_packets_count_as_several_messages() -> None:
    with switcher(osc_rate=100) as on:
        for _ in range(50):
            on.client.raw(message("/streamcam/prompt", "x" * 4000))
        on.client.settle()
        assert on.server.counts["over the rate"] >= 40


def test_errors_are_answered_but_not_without_end() -> None:
    with switcher() as on:
        for _ in range(500):
            on.client.send("/streamcam/nothing")
        errors = on.client.settle()
        assert 10 <= len(errors) <= 60
        assert on.server.counts["unknown"] == 500
        assert len(on.reports) <= 60


def test_the_addresses_of_other_programs_are_answered_once() -> None:
    with switcher() as on:
        for value in range(50):
            on.client.send("/composition/layers/1/position", value / 50)
        assert len(on.client.settle()) == len(on.reports) == 1
        assert on.server.counts["unknown"] == 50


def test_what_strangers_send_cannot_move_our_cursor() -> None:
    with switcher() as on:
        on.after("/streamcam/\x1b[2J\n", "x")
        assert all(line.isprintable() for line in on.reports)


def test_ping_is_answered_with_the_version() -> None:
    with switcher() as on:
        on.client.send("/streamcam/ping")
        assert on.client.wait_for("/streamcam/pong") == (__version__,)


def test_our_own_addresses_are_not_answered_so_that_two_desks_never_talk_forever() -> None:
    with switcher() as on:
        on.client.send("/streamcam/error", "/x", "unknown")
        on.client.send("/streamcam/pong", "1")
        on.client.send("/streamcam/stat/fps", 3.0)
        assert on.client.settle() == []


def test_get_tells_what_one_address_holds() -> None:
    with switcher() as on:
        on.client.send("/streamcam/get", "/guidance_scale")
        assert on.client.wait_for("/streamcam/guidance_scale") == (pytest.approx(1.2),)
        on.client.send("/streamcam/get", "/streamcam/reset")
        assert "has no value to send" in str(on.client.wait_for("/streamcam/error")[1])


def test_a_subscriber_gets_everything_then_what_changes() -> None:
    with switcher() as on, Client(on.server.port) as listener:
        on.client.send("/streamcam/subscribe", listener.port)
        dump = dict(listener.receive(0.3))
        assert dump["/streamcam/guidance_scale"] == (pytest.approx(1.2),)
        assert dump["/streamcam/prompt"] == ("",)
        assert dump["/streamcam/mix/norm"] == (1.0,)
        on.control.change({"guidance_scale": 3.0, "prompt": "neon"})
        news = [m for m in listener.receive(0.4) if "stat" not in m.address]
        told = {m.address: m.arguments for m in news if m.address.startswith("/streamcam")}
        assert told == {
            "/streamcam/guidance_scale": (3.0,),
            "/streamcam/guidance_scale/norm": (pytest.approx(0.1),),
            "/streamcam/prompt": ("neon",),
            "/streamcam/prompt/a/text": ("neon",),
            "/streamcam/prompt/0": ("neon",),
        }


def test_changes_are_told_thirty_times_a_second_at_most() -> None:
    with switcher() as on, Client(on.server.port) as listener:
        listener.send("/streamcam/subscribe")
        listener.wait_for("/streamcam/preset/names")
        done = Event()

        def turn() -> None:
            value = 0
            while not done.wait(0.002):
                value += 1
                on.control.change({"seed": value})

        knob = Thread(target=turn)
        knob.start()
        told = [m for m in listener.receive(1.0) if m.address == "/streamcam/seed"]
        done.set()
        knob.join()
        assert 10 <= len(told) <= 31


def test_a_control_that_moves_is_not_told_of_itself_until_it_rests() -> None:
    with switcher() as on, Client(on.server.port, "127.0.0.2") as other:
        other.send("/streamcam/subscribe")
        on.client.send("/streamcam/subscribe")
        other.wait_for("/streamcam/preset/names")
        on.client.wait_for("/streamcam/preset/names")
        end = time.monotonic() + 0.6
        value = 1.0
        while time.monotonic() < end:
            value += 0.01
            on.client.send("/streamcam/guidance_scale", value)
            time.sleep(0.01)
        address = "/streamcam/guidance_scale"
        mine = [m.arguments for m in on.client.receive(0.1) if m.address == address]
        others = [m.arguments for m in other.receive(0.1) if m.address == address]
        assert mine == []
        assert len(others) > 5
        assert on.client.wait_for(address) == (pytest.approx(value),)


def test_a_clamped_value_is_told_at_once_even_if_nothing_changes() -> None:
    with switcher(guidance_scale=30) as on:
        on.client.send("/streamcam/subscribe")
        on.client.wait_for("/streamcam/preset/names")
        on.client.send("/streamcam/guidance_scale", 35.0)
        assert on.client.wait_for("/streamcam/guidance_scale", 0.25) == (30.0,)
        assert on.server.counts["clamped"] == 1


def test_sync_tells_everything_again() -> None:
    with switcher() as on:
        on.client.send("/streamcam/sync")
        assert on.client.wait_for("/streamcam/seed") == (2,)


def test_subscriptions_end_when_their_time_is_over_or_they_are_given_up() -> None:
    with switcher() as on, Client(on.server.port) as brief:
        brief.send("/streamcam/subscribe", brief.port, 0.5)
        on.client.send("/streamcam/subscribe", on.client.port, 0)
        brief.wait_for("/streamcam/stat/state")
        time.sleep(0.7)
        list(brief.receive(0.1))
        assert list(brief.receive(0.6)) == []
        on.client.send("/streamcam/unsubscribe")
        on.client.settle()
        assert list(on.client.receive(0.6)) == []


@pytest.mark.parametrize("arguments", [(0,), (70000,), ("x",), (9001, -1), (float("nan"),)])
def test_a_subscription_names_a_real_port(arguments: tuple[object, ...]) -> None:
    with switcher() as on:
        on.client.send("/streamcam/subscribe", *arguments)
        assert on.client.wait_for("/streamcam/error")[0] == "/streamcam/subscribe"


def test_there_is_a_limit_to_subscribers_but_each_may_renew() -> None:
    with switcher() as on:
        clients = [Client(on.server.port, f"127.0.0.{n + 2}") for n in range(MAX_SUBSCRIBERS)]
        for client in clients:
            client.send("/streamcam/subscribe")
            client.wait_for("/streamcam/preset/names")
        on.client.send("/streamcam/subscribe")
        assert "32 subscribers" in str(on.client.wait_for("/streamcam/error")[1])
        clients[0].send("/streamcam/subscribe")
        assert clients[0].wait_for("/streamcam/prompt") == ("",)
        for client in clients:
            client.socket.close()


@pytest.mark.skipif(not hasattr(socket, "MSG_ERRQUEUE"), reason="the system does not tell")
def test_a_port_that_nobody_listens_at_is_given_up_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamcam.control.osc.feedback.GONE_AFTER", 0.8)
    with switcher() as on:
        gone = Client(on.server.port)
        on.client.send("/streamcam/subscribe", gone.port, 0)
        gone.wait_for("/streamcam/preset/names")
        on.client.send("/streamcam/subscribe", on.client.port, 0)
        gone.socket.close()
        end = time.monotonic() + 5
        while len(on.server._subscribers) > 1 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(on.server._subscribers) == 1
        assert on.client.wait_for("/streamcam/stat/state") == ("running",)


def test_how_the_broadcast_fares_is_told_twice_a_second() -> None:
    with switcher() as on:
        on.client.send("/streamcam/subscribe")
        came = list(on.client.receive(1.3))
        told = dict(came)
        assert told["/streamcam/stat/fps"] == (24.5,)
        assert told["/streamcam/stat/latency"] == (125.0,)
        assert told["/streamcam/stat/dropped"] == (3,)
        assert told["/streamcam/stat/state"] == ("running",)
        assert told["/streamcam/stat/vram"] == (2000.0,)
        assert told["/streamcam/stat/power"] == (75.0,)
        assert told["/server_active"] == (1,)
        assert told["/stream-info/fps"] == (24.5,)
        assert 2 <= sum(m.address == "/streamcam/stat/state" for m in came) <= 3


def test_feedback_goes_on_while_the_desk_is_flooded() -> None:
    with switcher(osc_rate=100_000) as on, Client(on.server.port, "127.0.0.2") as listener:
        listener.send("/streamcam/subscribe")
        listener.wait_for("/streamcam/preset/names")
        done = Event()

        def flood() -> None:
            while not done.is_set():
                on.client.send("/streamcam/mix", 0.5)

        sender = Thread(target=flood)
        sender.start()
        states = [m for m in listener.receive(1.5) if m.address == "/streamcam/stat/state"]
        done.set()
        sender.join()
        assert len(states) >= 2


def test_a_port_in_use_is_refused_with_the_remedy() -> None:
    with switcher() as on:
        config = build_config([{"osc_port": on.server.port}])
        second = OscServer(Control(config), config, lambda: STATUS, print)
        with pytest.raises(DeviceError, match="--osc-port"):
            second.__enter__()


@pytest.mark.parametrize("address", ["192.0.2.1", "no such host.invalid"])
def test_an_address_that_is_not_ours_is_refused_with_the_remedy(address: str) -> None:
    with pytest.raises(DeviceError, match="--osc-bind"), switcher(osc_bind=address):
        pass


def test_an_alias_that_leads_nowhere_is_refused_at_start() -> None:
    config = build_config([{"osc_alias": {"/layer1": "/opcity"}}])
    with pytest.raises(ConfigError, match=r'"/opcity".*did you mean'):
        OscServer(Control(config), config, lambda: STATUS, print)


def test_the_desk_closes_within_half_a_second() -> None:
    with switcher() as on:
        on.client.send("/streamcam/subscribe")
        began = time.monotonic()
        port = on.server.port
    assert time.monotonic() - began < 0.5
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", port))


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_is_heard_and_told() -> None:
    with switcher(osc_bind="::1", osc_prefix="/desk") as on:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(message("/desk/seed", 77), ("::1", on.server.port))
            client.sendto(message("/desk/ping"), ("::1", on.server.port))
            assert client.recv(1000).startswith(b"/desk/pong")
        assert on.control.target.seed == 77
