"""Changes that wait for the beat: which do, until when, and what becomes of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from streamcam.control.addresses import Addresses
from streamcam.control.messages import Argument, Message
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.control.tempo.beat_grid import BeatGrid
from streamcam.control.tempo.change_scheduler import MAX_WAITING, Boundary, ChangeScheduler
from streamcam.control.tempo.lead_time import LeadTime
from streamcam.control.tempo.link_session import join_session
from streamcam.control.tempo.tempo_room import TempoRoom
from streamcam.errors import ParameterError, StreamcamError
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.system.supervised_thread import SupervisedThread
from tests.control.osc.running_server import STATUS
from tests.control.tempo.test_sources import JumpingSession
from tests.runtime.broadcast_helpers import until


class Clock:
    """Clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Room:
    """A tempo room at 60 bpm, whose beats are the whole seconds of a clock that a test moves."""

    def __init__(self, surface: ControlSurface, room: TempoRoom, clock: Clock) -> None:
        self.surface, self.room, self.clock = surface, room, clock

    def send(self, address: str, *arguments: Argument, source: str = "a") -> Any:
        return self.surface.apply([Message(f"/streamcam/{address}", arguments)], source)

    def wait_until(self, now: float) -> Parameters:
        """Move the clock to where nothing is due; return the target."""
        self.clock.now = now
        self.room._scheduler.look_again()
        Event().wait(0.02)  # The thread would have made a change by then, had one been due.
        return self.surface.control.target

    def go_to(self, now: float) -> Parameters:
        """Move the clock to where a change is due, and wait for it; return the target."""
        applied = Event()
        self.surface.control.listen(lambda _before, _after: applied.set())
        self.clock.now = now
        self.room._scheduler.look_again()
        assert applied.wait(10)
        return self.surface.control.target


@contextmanager
def tempo_room(join: Callable[[float], Any] = join_session, **settings: Any) -> Iterator[Room]:
    config = build_config([{"bpm": 60, "quantise": "beat", "prompt": "cat", **settings}])
    clock = Clock()
    surface = ControlSurface(Control(config), config, lambda _line: None)
    status = replace(STATUS, latency_p50=0.1, fps_model=25.0)
    with TempoRoom(surface, lambda: status, clock, join) as room:
        yield Room(surface, room, clock)


LEAD = 0.1 + 0.5 / 25


def test_what_a_hand_presses_waits_and_what_it_drags_or_needs_at_once_does_not() -> None:
    known = Addresses("").known
    waiting = {name for name, address in known.items() if address.quantised}
    assert waiting >= {
        *("/prompt", "/negative_prompt", "/prompt/a/text", "/prompt/fade", "/t_index_list"),
        *("/preset/load", "/preset/next", "/preset/prev", "/seed/random", "/reset", "/mirror"),
        *("/rotate", "/prompt_interpolation", "/prompt/interpolation", "/t_list"),
    }
    moved = {"/strength", "/guidance_scale/norm", "/blend_t", "/prompt/a/weight", "/seed", "/mix"}
    safety = {"/panic", "/blackout", "/freeze", "/bypass", "/pause", "/play", "/record"}
    assert not waiting & (moved | safety | {"/snapshot", "/preset/refresh", "/prompt_list"})


def test_a_change_is_made_ahead_of_the_beat_by_the_latency() -> None:
    with tempo_room() as room:
        room.clock.now = 1000.2
        assert room.send("prompt", "dog").applied == ["/streamcam/prompt"]
        assert room.surface.value_of("/streamcam/tempo/waiting") == (
            "/streamcam/tempo/waiting",
            (1,),
        )
        assert room.wait_until(1001 - LEAD - 0.001).prompt == (("cat", 1.0),)
        assert room.go_to(1001 - LEAD + 0.001).prompt == (("dog", 1.0),)
        assert room.room.waiting == 0


@pytest.mark.parametrize(
    ("quantise", "beat"), [("beat", 1002), ("bar", 1004), ("2 bars", 1008), ("4 bars", 1016)]
)
def test_too_late_for_a_boundary_is_in_time_for_the_next(quantise: str, beat: int) -> None:
    with tempo_room(quantise=quantise) as room:
        room.clock.now = 1000.95
        room.send("prompt", "dog")
        assert room.wait_until(beat - LEAD - 0.001).prompt == (("cat", 1.0),)
        assert room.go_to(beat - LEAD + 0.001).prompt == (("dog", 1.0),)


def test_the_newest_of_an_address_counts_and_the_rest_is_one_change() -> None:
    with tempo_room() as room:
        snapshots: list[Parameters] = []
        room.surface.control.listen(lambda _before, after: snapshots.append(after))
        for angle in ("90", "180"):
            room.send("rotate", angle)
        room.send("mirror", 1)
        room.send("strength", 0.7)
        assert room.surface.control.target.strength == 0.7
        room.go_to(1001)
        assert [(s.rotate, s.mirror) for s in snapshots] == [("0", False), ("180", True)]


def test_a_button_that_is_released_before_the_beat_has_been_pressed() -> None:
    with tempo_room() as room:
        for value in (1.0, 0.0, 1.0, 1.0):
            room.send("reset", value)
        assert room.go_to(1001).reset == 1
        room.send("reset", 1.0)  # Still held down.
        assert room.room.waiting == 0


def test_safety_does_not_wait() -> None:
    with tempo_room(quantise="4 bars") as room:
        for name in ("panic", "blackout", "freeze", "bypass"):
            room.send(name, 1)
            assert getattr(room.surface.control.target, name)


def test_a_new_prompt_is_ahead_by_the_time_that_it_takes_to_encode_too() -> None:
    status = replace(STATUS, latency_p50=0.1, fps_model=25.0, prompt_encoding=0.08)
    lead = LeadTime(lambda: status, 30.0, Clock())
    assert (lead.model_s(), lead.prompt_s()) == pytest.approx((LEAD, LEAD + 0.08))


@pytest.mark.parametrize("latency", [None, 0.0, 1e9])
def test_the_lead_is_usable_before_the_first_frame_and_whatever_the_figures(
    latency: float | None,
) -> None:
    status = replace(STATUS, latency_p50=latency, fps_model=0.0, fps_in=0.0)
    assert 0 <= LeadTime(lambda: status, 30.0, Clock()).model_s() <= 10


def test_what_would_be_refused_is_refused_at_once_and_does_not_wait() -> None:
    with tempo_room() as room:
        outcome = room.surface.apply(
            [
                Message("/streamcam/preset/load", ("no such preset",)),
                Message("/streamcam/t_index_list", (1, 2, 3, 4, 5, 6, 7)),
                Message("/streamcam/mirror", (1,)),
            ],
            "a",
        )
        assert [address for address, _ in outcome.refused] == [
            "/streamcam/preset/load",
            "/streamcam/t_index_list",
        ]
        assert room.room.waiting == 1
        assert room.go_to(1001).mirror


def test_a_preset_waits_and_is_the_current_one_from_the_beat_on() -> None:
    with tempo_room() as room:
        name = room.surface.presets.names[0]
        room.send("preset/load", name)
        assert room.surface.presets.current is None
        room.go_to(1001)
        assert room.surface.presets.current == name


def test_without_quantising_nothing_waits_and_there_is_no_thread() -> None:
    with tempo_room(quantise="off") as room:
        room.send("prompt", "dog")
        assert room.surface.control.target.prompt == (("dog", 1.0),)
        assert room.room._scheduler._thread is None


def test_switching_it_off_makes_what_waits_happen() -> None:
    with tempo_room(quantise="4 bars") as room:
        room.send("prompt", "dog")
        room.send("tempo/quantise", "off")
        until(lambda: room.surface.control.target.prompt == (("dog", 1.0),))


@pytest.mark.parametrize("jump", [-100.3, 1e5, 0.5])
def test_beats_that_jump_delay_a_change_by_no_more_than_a_boundary(jump: float) -> None:
    beats = [BeatGrid(60, 1000.0)]
    boundary = Boundary(lambda: beats[0], 4, lambda: 0.1, now=1001.0)
    assert boundary.due(1001.0) == 1004 - 0.1
    beats[0] = beats[0].at_beat(jump, 1002.0)
    due = boundary.due(1002.0)
    assert 1002.0 <= due < 1002.0 + 4
    beat = beats[0].beat_at(due + 0.1)
    assert beat / 4 == pytest.approx(round(beat / 4), abs=1e-5)
    # Another tempo moves the boundary, and makes it no other.
    beats[0] = beats[0].at_tempo(66, 1002.01)
    beat = beats[0].beat_at(boundary.due(1002.01) + 0.1)
    assert beat / 4 == pytest.approx(round(beat / 4), abs=1e-5)


def test_too_many_changes_are_refused_and_none_is_lost_that_waits() -> None:
    applied: list[int] = []
    clock = Clock()
    scheduler = ChangeScheduler(lambda messages: applied.append(len(messages)), clock)
    grid, no_lead = BeatGrid(60, 1000.0), float

    def boundary() -> Boundary:
        return Boundary(lambda: grid, 1, no_lead, clock() + 0.1)

    for number in range(MAX_WAITING):
        scheduler.hold({f"/{number}": Message(f"/{number}")}, boundary())
    with pytest.raises(ParameterError, match="wait for the beat"):
        scheduler.hold({"/more": Message("/more")}, boundary())
    scheduler.hold({"/7": Message("/7", (1,))}, boundary())
    scheduler.flush()
    until(lambda: applied == [MAX_WAITING])
    scheduler.close()


def test_a_change_that_is_due_is_not_put_off_by_a_sender_that_repeats_itself() -> None:
    applied = Event()
    clock = Clock()
    scheduler = ChangeScheduler(lambda _messages: applied.set(), clock)
    grid = BeatGrid(60, 1000.0)
    with scheduler._changed:  # Its thread has no chance before the second one has come.
        scheduler.hold({"/a": Message("/a")}, Boundary(lambda: grid, 1, lambda: 0.0, 1000.5))
        clock.now = 1001.0
        scheduler.hold({"/a": Message("/a")}, Boundary(lambda: grid, 1, lambda: 0.0, 1001.1))
    assert applied.wait(5)
    assert scheduler.waiting == 1
    scheduler.close()


def test_a_change_is_made_once_while_other_programs_jump_about_in_link() -> None:
    session = JumpingSession()
    with tempo_room(lambda _bpm: session, link=True, quantise="bar") as room:
        made: list[Parameters] = []
        room.surface.control.listen(lambda _before, after: made.append(after))
        room.send("mod/mix/shape", "ramp")
        room.send("mod/mix/depth", 1)
        room.send("prompt", "dog")
        for jump in (1e9, -1e9, 0.3, 77.7):
            session.beats = BeatGrid(60, 1000.0).at_beat(jump, room.clock.now)
            room.wait_until(room.clock.now + 0.01)
            assert 0 <= room.surface.control.advance().mix <= 1
        room.go_to(room.clock.now + 4)
        until(lambda: room.surface.control.target.prompt == (("dog", 1.0),))
        assert sum(after.prompt == (("dog", 1.0),) for after in made) == 1


def test_the_thread_ends_however_it_is_interleaved_with_its_end() -> None:
    clock = Clock()
    grid = BeatGrid(60, 1000.0)
    for _ in range(20):
        scheduler = ChangeScheduler(lambda _messages: None, clock)
        scheduler.hold({"/a": Message("/a")}, Boundary(lambda: grid, 1, float, 1000.5))
        scheduler.flush()
        scheduler.close()
        assert not scheduler.waiting


def test_where_no_thread_can_be_started_a_change_is_refused_and_the_next_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempo_room() as room:

        def no_room(_thread: object) -> None:
            raise StreamcamError("cannot start the thread beat: too many processes")

        with monkeypatch.context() as patch:
            patch.setattr(SupervisedThread, "start", no_room)
            [(address, why)] = room.send("mirror", 1).refused
        assert (address, why.startswith("cannot start")) == ("/streamcam/mirror", True)
        assert room.room.waiting == 0
        room.send("mirror", 1)
        assert room.go_to(1001).mirror
