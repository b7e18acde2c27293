"""The OSC server over real sockets."""

import socket
import struct
import sys
import time
from threading import Event, Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamcam.control.osc import admission
from streamcam.control.osc.access import AllowList
from streamcam.control.osc.feedback import MAX_SUBSCRIBERS, Subscribers
from streamcam.control.osc.packets import BUNDLE
from streamcam.control.osc.server import OscServer
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.errors import ConfigError, DeviceError, ParameterError
from streamcam.settings.config_layers import build_config
from streamcam.version import __version__
from tests.control.osc.running_server import STATUS, Client, bundle, message, running_server

HANGS_PYTHON_OSC = BUNDLE + bytes(8) + struct.pack(">i", -4) + bytes(8)


def test_a_message_reaches_the_next_snapshot() -> None:
    with running_server() as running:
        assert running.after("/streamcam/guidance_scale", 1.4).guidance_scale == 1.4
        assert running.control.parameters.guidance_scale == 1.4


def test_touchdesigner_sends_floats_in_bundles_stamped_with_the_future() -> None:
    with running_server(osc_time_tags=False) as running:
        packet = bundle(
            message("/streamcam/seed", 7.0, types="f"),
            message("/streamcam/num_inference_steps", 40.0, types="f"),
            when=time.time() + 60,
        )
        after = running.after_raw(packet)
        assert (after.seed, after.num_inference_steps) == (7, 40)


def test_touchosc_toggles_are_floats_and_its_buttons_fire_on_press_alone() -> None:
    with running_server() as running:
        assert running.after("/streamcam/freeze", 1.0).freeze
        assert not running.after("/streamcam/freeze", 0.0).freeze
        for value in (1.0, 1.0, 0.0, 1.0, 0.0):
            running.client.send("/streamcam/reset", value)
        assert running.after("/streamcam/reset", 0.0).reset == 2


def test_no_snapshot_ever_holds_half_a_bundle() -> None:
    with running_server(seed=0, delta=0) as running:
        published: list[tuple[int, float]] = []
        running.control.listen(lambda _before, after: published.append((after.seed, after.delta)))
        for seed in range(1, 300):
            running.client.raw(
                bundle(message("/streamcam/seed", seed), message("/streamcam/delta", seed / 100))
            )
        running.client.settle()
        assert published == [(seed, seed / 100) for seed in range(1, 300)]


def test_a_refused_message_does_not_hinder_the_rest_of_its_bundle() -> None:
    with running_server() as running:
        packet = bundle(
            message("/streamcam/delta", 0.5),
            message("/streamcam/deltta", 0.7),
            message("/streamcam/guidance_scale", float("nan")),
            message("/streamcam/t_index_list", 1, 2, 3, 4, 5),
            message("/streamcam/seed", 9),
        )
        running.client.raw(packet)
        errors = [m for m in running.client.settle() if m.address == "/streamcam/error"]
        after = running.control.target
        assert (after.delta, after.seed, after.guidance_scale) == (0.5, 9, 1.2)
        assert {(m.arguments[0], str(m.arguments[1])[:20]) for m in errors} == {
            ("/streamcam/deltta", "is unknown: did you "),
            ("/streamcam/guidance_scale", "takes a finite numbe"),
            ("/streamcam/t_index_list", "t_index_list has 5 e"),
        }
        assert (running.server.counts["refused"], running.server.counts["unknown"]) == (2, 1)
        assert running.reports


def test_messages_for_other_programs_in_a_bundle_are_answered_once_and_the_rest_applies() -> None:
    blob = message("/video/frame", b"12345")
    ours = message("/streamcam/delta", b"12345")
    with running_server() as running:
        for seed in (7, 8):
            assert running.after_raw(bundle(blob, message("/streamcam/seed", seed))).seed == seed
        assert running.server.counts["malformed"] == 2
        assert [line for line in running.reports if "/video/frame" in line] == running.reports
        assert len(running.reports) == 1
        running.after_raw(bundle(ours), bundle(ours))
        assert len(running.reports) == 3


def test_what_was_left_out_is_sent_as_a_warning_to_whoever_sent_it() -> None:
    with running_server() as running:
        running.client.send("/streamcam/prompt", "x" * 1001)
        assert running.client.wait_for("/streamcam/warning") == (
            "/streamcam/prompt",
            "takes 1000 bytes; the rest is left out",
        )
        assert running.control.target.prompt == (("x" * 1000, 1.0),)
        assert len(running.reports) == 1


def test_a_bundle_of_refused_messages_changes_nothing() -> None:
    with running_server() as running:
        before = running.control.parameters
        running.after_raw(bundle(message("/streamcam/t_index_list", 1), message("/x")))
        assert running.control.parameters is before


def test_the_server_goes_on_after_every_kind_of_bad_packet() -> None:
    with running_server() as running:
        bad = [HANGS_PYTHON_OSC, b"", b"\xff" * 100, message("/streamcam/delta", b"blob")]
        bad += [message("/" + "*" * 32, 1), message("/{a,b}[!x]?", 1), bytes(9000)]
        for number, packet in enumerate(bad):
            assert running.after_raw(packet, message("/streamcam/seed", number)).seed == number
        assert running.server.counts["malformed"] == 5
        assert running.server.counts["unknown"] == 2


@settings(
    derandomize=True,
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(packets=st.lists(st.binary(max_size=200), min_size=1, max_size=20), number=st.integers(0))
def test_a_good_message_works_after_any_bytes(
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
    """A server shared by many examples."""

    def __init__(self, server: OscServer, control: Control, client: Client) -> None:
        self.server, self.control, self.client = server, control, client


@pytest.fixture(scope="module")
def fuzzed():  # type: ignore[no-untyped-def]
    with running_server(osc_rate=100_000) as running:
        yield Fuzzed(running.server, running.control, running.client)


@pytest.mark.parametrize(
    "error", [OSError(9, "Bad file descriptor"), MemoryError(), SystemExit(3), ValueError("1024")]
)
@pytest.mark.parametrize("broken", ["receive", "send"])
def test_the_thread_of_the_server_survives_whatever_is_raised_in_it(
    monkeypatch: pytest.MonkeyPatch, broken: str, error: BaseException
) -> None:
    with running_server() as running:
        failed = Event()

        def fail(*_arguments: object) -> None:
            failed.set()
            raise error

        monkeypatch.setattr(running.server._ports, broken, fail)
        running.client.send("/streamcam/get", "mix")
        assert failed.wait(5)
        monkeypatch.undo()
        assert running.after("/streamcam/seed", 6).seed == 6
        assert running.server.counts["failed"] >= 1


def test_a_bug_of_ours_is_reported_and_the_server_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_server() as running:

        def broken(*_arguments: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(running.server._surface, "apply", broken)
        running.after("/streamcam/seed", 5)
        monkeypatch.undo()
        assert running.after("/streamcam/seed", 6).seed == 6
        assert running.server.counts["failed"] == 1
        assert "a bug" in running.reports[0]


def test_only_allowed_networks_are_served() -> None:
    with running_server(osc_allow="10.0.0.0/8") as running:
        running.client.send("/streamcam/seed", 5)
        running.client.send("/streamcam/ping")
        assert list(running.client.receive(0.4)) == []
        assert running.control.target.seed == 2
        assert running.server.counts["not allowed"] == 2


def test_a_host_that_is_refused_is_logged_once_with_the_networks_that_are_allowed() -> None:
    with running_server(osc_allow="10.0.0.0/8") as running:
        for _ in range(3):
            running.client.send("/streamcam/ping")
        with socket.create_connection(("127.0.0.1", running.server.port)) as tcp:
            assert tcp.recv(1) == b""
        assert running.reports == [
            "OSC from 127.0.0.1 is refused, as it is in no network of osc_allow (10.0.0.0/8)"
        ]
        assert running.server.counts["not allowed"] == 4


@pytest.mark.parametrize(
    "host",
    ["192.168.1.5", "169.254.3.4", "fe80::1c2d:3e4f%eth0", "fd12:3456::7", "::1", "127.0.0.9"],
)
def test_private_and_directly_cabled_networks_are_allowed_by_default(host: str) -> None:
    assert AllowList(build_config([]).broadcast.osc_allow).allows(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "2001:db8::1", "::ffff:8.8.8.8", "172.32.0.1"])
def test_other_networks_are_not_allowed_by_default(host: str) -> None:
    assert not AllowList(build_config([]).broadcast.osc_allow).allows(host)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops them for us")
def test_a_flood_is_left_to_the_system_and_others_are_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "LEAST_FLOOD", 100)
    with (
        running_server(osc_rate=10) as running,
        Client(running.server.port, "127.0.0.2") as second,
    ):
        for _ in range(1000):
            running.client.send("/streamcam/mix", 0.5)
        second.settle()
        packets = running.server.counts["packets"]
        for _ in range(1000):
            running.client.send("/streamcam/mix", 0.5)
        second.settle()
        assert running.server.counts["packets"] == packets + 1
        assert [line for line in running.reports if "osc_rate" in line] == running.reports
        assert len(running.reports) == 1


def test_a_host_over_its_rate_loses_messages_and_no_other_host_does() -> None:
    with (
        running_server(osc_rate=100) as running,
        Client(running.server.port, "127.0.0.2") as second,
    ):
        for seed in range(2000):
            running.client.send("/streamcam/seed", seed)
        second.send("/streamcam/delta", 0.5)
        assert second.settle() == []
        assert running.control.target.delta == 0.5
        assert running.server.counts["over the rate"] > 1000


def test_long_packets_count_as_several_messages() -> None:
    with running_server(osc_rate=100) as running:
        for _ in range(50):
            running.client.raw(message("/streamcam/prompt", "x" * 4000))
        running.client.settle()
        assert running.server.counts["over the rate"] >= 40


def test_the_number_of_error_answers_is_limited() -> None:
    with running_server() as running:
        for _ in range(500):
            running.client.send("/streamcam/nothing")
        errors = running.client.settle()
        assert 10 <= len(errors) <= 60
        assert running.server.counts["unknown"] == 500
        assert len(running.reports) <= 60


def test_the_addresses_of_other_programs_are_answered_once() -> None:
    with running_server() as running:
        for value in range(50):
            running.client.send("/composition/layers/1/position", value / 50)
        assert len(running.client.settle()) == len(running.reports) == 1
        assert running.server.counts["unknown"] == 50


def test_control_characters_do_not_reach_the_log() -> None:
    with running_server() as running:
        running.after("/streamcam/\x1b[2J\n", "x")
        assert all(line.isprintable() for line in running.reports)


def test_ping_is_answered_with_the_version() -> None:
    with running_server() as running:
        running.client.send("/streamcam/ping")
        assert running.client.wait_for("/streamcam/pong") == (__version__,)


def test_feedback_addresses_are_not_answered_so_that_two_servers_never_loop() -> None:
    with running_server() as running:
        running.client.send("/streamcam/error", "/x", "unknown")
        running.client.send("/streamcam/pong", "1")
        running.client.send("/streamcam/stat/fps", 3.0)
        assert running.client.settle() == []


def test_a_fader_spans_what_the_model_wants_and_numbers_go_beyond() -> None:
    with running_server(model="nano") as server:
        client = server.client
        assert server.after("/streamcam/strength/norm", 0.0).strength == 0
        assert server.after("/streamcam/strength/norm", 1.0).strength == 0.6
        assert server.after("/streamcam/strength", 0.9).strength == 0.9
        for address, wanted in (("strength", 0.9), ("strength/norm", 1.0)):
            client.send("/streamcam/get", f"/streamcam/{address}")
            assert client.wait_for(f"/streamcam/{address}") == pytest.approx((wanted,))
        # What is beyond a fader stays there while different faders move.
        assert server.after("/streamcam/guidance_scale/norm", 0.5).guidance_scale == 2
        assert server.after("/streamcam/prompt_time/norm", 0.5).prompt_time == 5
        assert server.after("/streamcam/preset/time/norm", 1.0).preset_time == 10
        assert server.control.target.strength == 0.9


def test_get_answers_with_the_value_of_one_address() -> None:
    with running_server() as running:
        running.client.send("/streamcam/get", "/guidance_scale")
        assert running.client.wait_for("/streamcam/guidance_scale") == (pytest.approx(1.2),)
        running.client.send("/streamcam/get", "/streamcam/reset")
        assert "has no value to send" in str(running.client.wait_for("/streamcam/error")[1])
        assert running.reports == []


@pytest.mark.parametrize(
    ("asked", "answered", "value"),
    [
        ("mix", "/streamcam/mix", 1.0),
        ("/opacity", "/streamcam/opacity", 1.0),
        ("/layer1", "/streamcam/mix", 1.0),
        ("stat/state", "/streamcam/stat/state", "running"),
        ("/server_active", "/server_active", 1),
    ],
)
def test_get_knows_short_names_aliases_and_figures(
    asked: str, answered: str, value: object
) -> None:
    with running_server(osc_alias={"/layer1": "/mix"}) as running:
        running.client.send("/streamcam/get", asked)
        assert running.client.wait_for(answered) == (value,)


def test_a_subscriber_gets_all_values_then_changes() -> None:
    with running_server() as running, Client(running.server.port) as listener:
        running.client.send("/streamcam/subscribe", listener.port)
        dump = dict(listener.receive(0.3))
        assert dump["/streamcam/guidance_scale"] == (pytest.approx(1.2),)
        assert dump["/streamcam/prompt"] == ("",)
        assert dump["/streamcam/mix/norm"] == (1.0,)
        running.control.change({"guidance_scale": 3.0, "prompt": "neon"})
        news = [m for m in listener.receive(0.4) if "stat" not in m.address]
        values = {m.address: m.arguments for m in news if m.address.startswith("/streamcam")}
        assert values == {
            "/streamcam/guidance_scale": (3.0,),
            "/streamcam/guidance_scale/norm": (0.75,),
            "/streamcam/prompt": ("neon",),
            "/streamcam/prompt/a/text": ("neon",),
            "/streamcam/prompt/0": ("neon",),
        }


def test_changes_are_sent_at_most_thirty_times_a_second() -> None:
    with running_server() as running, Client(running.server.port) as listener:
        listener.send("/streamcam/subscribe")
        listener.wait_for("/streamcam/preset/names")
        done = Event()

        def turn() -> None:
            value = 0
            while not done.wait(0.002):
                value += 1
                running.control.change({"seed": value})

        knob = Thread(target=turn)
        knob.start()
        values = [m for m in listener.receive(1.0) if m.address == "/streamcam/seed"]
        done.set()
        knob.join()
        assert 10 <= len(values) <= 31


def test_a_moving_control_gets_no_feedback_until_it_rests() -> None:
    with running_server() as running, Client(running.server.port, "127.0.0.2") as listener:
        listener.send("/streamcam/subscribe")
        running.client.send("/streamcam/subscribe")
        listener.wait_for("/streamcam/preset/names")
        running.client.wait_for("/streamcam/preset/names")
        end = time.monotonic() + 0.6
        value = 1.0
        while time.monotonic() < end:
            value += 0.01
            running.client.send("/streamcam/guidance_scale", value)
            time.sleep(0.01)
        address = "/streamcam/guidance_scale"
        own = [m.arguments for m in running.client.receive(0.1) if m.address == address]
        of_listener = [m.arguments for m in listener.receive(0.1) if m.address == address]
        assert own == []
        assert len(of_listener) > 5
        assert running.client.wait_for(address) == (pytest.approx(value),)


def test_a_clamped_value_is_sent_back_at_once_even_if_nothing_changes() -> None:
    with running_server(guidance_scale=30) as running:
        running.client.send("/streamcam/subscribe")
        running.client.wait_for("/streamcam/preset/names")
        running.client.send("/streamcam/guidance_scale", 35.0)
        assert running.client.wait_for("/streamcam/guidance_scale", 0.25) == (30.0,)
        assert running.server.counts["clamped"] == 1


def test_sync_sends_all_values_again() -> None:
    with running_server() as running:
        running.client.send("/streamcam/sync")
        assert running.client.wait_for("/streamcam/seed") == (2,)


def test_subscriptions_end_when_they_expire_or_are_cancelled() -> None:
    with running_server() as running, Client(running.server.port) as brief:
        brief.send("/streamcam/subscribe", brief.port, 0.5)
        running.client.send("/streamcam/subscribe", running.client.port, 0)
        brief.wait_for("/streamcam/stat/state")
        time.sleep(0.7)
        list(brief.receive(0.1))
        assert list(brief.receive(0.6)) == []
        running.client.send("/streamcam/unsubscribe")
        running.client.settle()
        assert list(running.client.receive(0.6)) == []


@pytest.mark.parametrize("arguments", [(0,), (70000,), ("x",), (9001, -1), (float("nan"),)])
def test_a_subscription_needs_a_valid_port(arguments: tuple[object, ...]) -> None:
    with running_server() as running:
        running.client.send("/streamcam/subscribe", *arguments)
        assert running.client.wait_for("/streamcam/error")[0] == "/streamcam/subscribe"


def test_the_number_of_subscribers_is_limited_but_each_may_renew() -> None:
    with running_server() as running:
        clients = [Client(running.server.port, f"127.0.0.{n + 2}") for n in range(MAX_SUBSCRIBERS)]
        for client in clients:
            client.send("/streamcam/subscribe")
            client.wait_for("/streamcam/preset/names")
        running.client.send("/streamcam/subscribe")
        assert "32 subscribers" in str(running.client.wait_for("/streamcam/error")[1])
        clients[0].send("/streamcam/subscribe")
        assert clients[0].wait_for("/streamcam/prompt") == ("",)
        for client in clients:
            client.socket.close()


@pytest.mark.skipif(not hasattr(socket, "MSG_ERRQUEUE"), reason="the system does not tell")
def test_a_subscriber_whose_port_is_closed_is_removed_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamcam.control.osc.feedback.GONE_AFTER", 0.8)
    with running_server() as running:
        gone = Client(running.server.port)
        running.client.send("/streamcam/subscribe", gone.port, 0)
        gone.wait_for("/streamcam/preset/names")
        running.client.send("/streamcam/subscribe", running.client.port, 0)
        gone.socket.close()
        end = time.monotonic() + 5
        while len(running.server._subscribers) > 1 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(running.server._subscribers) == 1
        assert running.client.wait_for("/streamcam/stat/state") == ("running",)


def test_figures_of_the_broadcast_are_sent_twice_a_second() -> None:
    with running_server() as running:
        running.client.send("/streamcam/subscribe")
        received = list(running.client.receive(1.3))
        values = dict(received)
        assert values["/streamcam/stat/fps"] == (24.5,)
        assert values["/streamcam/stat/latency"] == (125.0,)
        assert values["/streamcam/stat/dropped"] == (3,)
        assert values["/streamcam/stat/state"] == ("running",)
        assert values["/streamcam/stat/vram"] == (2000.0,)
        assert values["/streamcam/stat/power"] == (75.0,)
        assert values["/server_active"] == (1,)
        assert values["/stream-info/fps"] == (24.5,)
        assert 2 <= sum(m.address == "/streamcam/stat/state" for m in received) <= 3


def test_a_subscription_to_our_own_port_is_refused() -> None:
    with running_server() as running:
        for port in (running.server.port, 7, 1023, 9000.5):
            running.client.send("/streamcam/subscribe", port)
            address, reason = running.client.wait_for("/streamcam/error")
            assert address == "/streamcam/subscribe"
            assert ("own" in str(reason)) is (port == running.server.port)
        assert len(running.server._subscribers) == 0


def test_packets_from_our_own_port_are_not_obeyed() -> None:
    with running_server() as running:
        own = ("127.0.0.1", running.server.port)
        running.server._ports.send(message("/streamcam/seed", 5), own)
        running.server._ports.send(message("/streamcam/subscribe"), own)
        running.client.settle()
        assert running.control.target.seed == 2
        assert running.server.counts["own"] == 2
        assert len(running.server._subscribers) == 0


def test_the_subscriptions_of_one_host_do_not_keep_another_out() -> None:
    subscribers = Subscribers()
    for port in range(20000, 20000 + MAX_SUBSCRIBERS):
        subscribers.add(("10.0.0.1", port), 600.0, 0.0, proven=True)
    with pytest.raises(ParameterError, match="32 subscribers"):
        subscribers.add(("10.0.0.1", 9001), 600.0, 0.0, proven=True)
    subscribers.add(("10.0.0.2", 9001), 600.0, 0.0, proven=True)
    assert subscribers.at("10.0.0.2") == [("10.0.0.2", 9001)]
    assert len(subscribers) == MAX_SUBSCRIBERS


def test_feedback_goes_on_while_the_server_is_flooded() -> None:
    with (
        running_server(osc_rate=100_000) as running,
        Client(running.server.port, "127.0.0.2") as listener,
    ):
        listener.send("/streamcam/subscribe")
        listener.wait_for("/streamcam/preset/names")
        done = Event()

        def flood() -> None:
            while not done.is_set():
                running.client.send("/streamcam/mix", 0.5)

        sender = Thread(target=flood)
        sender.start()
        states = [m for m in listener.receive(1.5) if m.address == "/streamcam/stat/state"]
        done.set()
        sender.join()
        assert len(states) >= 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_ports_that_0_took_are_logged(host: str, caplog: pytest.LogCaptureFixture) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with caplog.at_level("INFO", "streamcam"), running_server(osc_bind=host) as running:
        shown = f"[{host}]" if ":" in host else host
        assert caplog.messages == [f"OSC at {shown}:{running.server.port} (UDP and TCP)"]
        assert running.server.port


def test_a_port_in_use_is_refused_with_the_remedy() -> None:
    with running_server() as running:
        config = build_config([{"osc_port": running.server.port}])
        second = OscServer(ControlSurface(Control(config), config, print), lambda: STATUS, print)
        with pytest.raises(DeviceError, match="--osc-port"):
            second.__enter__()


@pytest.mark.parametrize("address", ["192.0.2.1", "no such host.invalid"])
def test_an_address_that_is_not_ours_is_refused_with_the_remedy(address: str) -> None:
    with pytest.raises(DeviceError, match="--osc-bind"), running_server(osc_bind=address):
        pass


def test_an_alias_that_leads_nowhere_is_refused_at_start() -> None:
    config = build_config([{"osc_alias": {"/layer1": "/opcity"}}])
    with pytest.raises(ConfigError, match=r'"/opcity".*did you mean'):
        OscServer(ControlSurface(Control(config), config, print), lambda: STATUS, print)


def test_the_server_closes_within_half_a_second() -> None:
    with running_server() as running:
        running.client.send("/streamcam/subscribe")
        began = time.monotonic()
        port = running.server.port
    assert time.monotonic() - began < 0.5
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", port))


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_clients_are_served() -> None:
    with running_server(osc_bind="::1", osc_prefix="/studio") as running:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(message("/studio/seed", 77), ("::1", running.server.port))
            client.sendto(message("/studio/ping"), ("::1", running.server.port))
            assert client.recv(1000).startswith(b"/studio/pong")
        assert running.control.target.seed == 77


def test_one_message_switches_to_an_image_prompt_and_its_name_is_feedback() -> None:
    images = {"waves.png": 0.7, "forest.png": 0.4}
    with running_server(ip_adapter="x", image_prompt=images) as running:
        after = running.after("/streamcam/image_prompt", "forest", 0.0)
        assert dict(after.image_prompt_scale) == {"waves": 0, "forest": 0.4, "camera": 0}
        running.client.send("/streamcam/get", "/streamcam/image_prompt")
        assert running.client.wait_for("/streamcam/image_prompt") == ("forest",)
