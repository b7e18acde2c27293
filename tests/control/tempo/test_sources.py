"""Sources of the tempo: a tapping hand, a MIDI clock, and Ableton Link."""

import math
import random
import time
from collections.abc import Callable
from threading import Event

import pytest

from streamcam.control.tempo.beat_grid import BeatGrid
from streamcam.control.tempo.link_session import AbletonLink, join_session
from streamcam.control.tempo.midi_clock import NAMES, MidiClock
from streamcam.control.tempo.tap_tempo import TapTempo
from streamcam.control.tempo.tempo_clock import TempoClock
from streamcam.errors import ParameterError
from tests.runtime.broadcast_helpers import until

PULSE = 60 / 120 / 24


class Clock:
    """Clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class JumpingSession:
    """A session of Ableton Link whose other members do as they please."""

    def __init__(self) -> None:
        self.beats = BeatGrid(100, 1000.0)
        self.left = False

    def grid(self, beats_per_bar: int) -> BeatGrid:
        assert beats_per_bar
        return self.beats

    def set_bpm(self, bpm: float) -> None:
        self.beats = self.beats.at_tempo(bpm, 1000.0)

    def begin_bar(self, beats_per_bar: int) -> None:
        raise AssertionError(beats_per_bar)

    def listen(self, listener: Callable[[], None]) -> None:
        self.listener = listener

    def leave(self) -> None:
        self.left = True


def taps(*intervals: float) -> float | None:
    """Return the tempo of a first tap and others after `intervals`."""
    tapped, now = TapTempo(), 50.0
    bpm = tapped.tap(now)
    for interval in intervals:
        now += interval
        bpm = tapped.tap(now)
    return bpm


@pytest.mark.parametrize(
    ("intervals", "bpm"),
    [
        ((), None),
        ((0.5,), 120),
        ((0.49, 0.51, 0.5, 0.5), 120),
        ((0.5, 0.5, 1.0, 0.5, 0.5), 120),  # One missed.
        ((0.5, 0.5, 0.2, 0.3, 0.5, 0.5), 120),  # One too many.
        ((0.5, 0.5, 0.001, 0.499), 120),  # A button that bounces.
        ((0.5, 0.5, 0.5, 0.5, 0.3, 0.3), 200),  # Another song.
        ((0.5, 0.5, 60.0), None),  # A pause.
        ((0.5, 0.5, 60.0, 0.75), 80),
    ],
)
def test_the_tempo_of_taps(intervals: tuple[float, ...], bpm: float | None) -> None:
    assert taps(*intervals) == (None if bpm is None else pytest.approx(bpm, rel=0.01))


def test_each_tap_is_on_a_beat_and_the_bar_goes_on() -> None:
    now = Clock()
    clock = TempoClock(100, 4, now)
    clock.tap()
    for _ in range(3):
        now.now += 0.5
        clock.tap()
    grid = clock.grid()
    assert grid.bpm == pytest.approx(120)
    assert grid.beat_at(now()) % 1 == pytest.approx(0)
    clock.begin_bar()
    assert clock.grid().beat_at(now()) == 0


def pulses(
    clock: MidiClock, count: int, start: float, pulse: float = PULSE, jitter: float = 0.0
) -> float:
    """Send `count` pulses; return when the next would be due."""
    noise = random.Random(7)
    for number in range(count):
        clock.receive("clock", start + number * pulse + noise.uniform(-jitter, jitter))
    return start + count * pulse


def test_a_midi_clock_gives_tempo_and_beat_whatever_its_jitter() -> None:
    clock = MidiClock()
    clock.receive("start", 9.9)
    end = pulses(clock, 97, 10.0, jitter=0.003)
    assert clock.running
    assert clock.grid
    assert clock.grid.bpm == pytest.approx(120, rel=0.005)
    # The first pulse after start was beat 0, so the 97th is beat 4.
    assert clock.grid.beat_at(end - PULSE) == pytest.approx(4, abs=0.01)


def test_a_midi_clock_that_jumps_to_another_tempo_or_place_is_followed_within_a_beat() -> None:
    clock = MidiClock()
    now = pulses(clock, 48, 10.0)
    now = pulses(clock, 24, now, pulse=PULSE / 2)
    assert clock.grid
    assert clock.grid.bpm == pytest.approx(240, rel=0.01)
    clock.receive("songpos", now, position=32)
    clock.receive("continue", now)
    pulses(clock, 1, now, pulse=PULSE / 2)
    assert clock.grid.beat_at(now) == pytest.approx(8, abs=0.01)


def test_a_midi_clock_that_ends_or_makes_no_sense_leaves_the_last_beats() -> None:
    clock = MidiClock()
    now = pulses(clock, 48, 10.0)
    before = clock.grid
    assert before
    clock.receive("stop", now)
    assert not clock.running
    for number in range(50):
        clock.receive("clock", now + number * 1e-5)
        clock.receive("clock", now - number)
    assert clock.grid
    assert clock.grid.bpm == pytest.approx(before.bpm, rel=0.3)
    for name in ("sysex", "", "active_sensing"):
        clock.receive(name, now)


def test_the_tempo_follows_a_midi_clock_while_that_is_its_source() -> None:
    now = Clock()
    clock = TempoClock(100, 4, now)
    codes = {name: code for code, name in NAMES.items()}
    clock.midi(codes["start"], 999.9)
    for number in range(48):
        clock.midi(codes["clock"], 1000 + number * PULSE)
    clock.midi(0x90, 1001.0, (60, 100))
    assert clock.grid().bpm == 100
    clock.follow("midi")
    assert clock.grid().bpm == pytest.approx(120)
    for change in (clock.tap, clock.begin_bar, lambda: clock.set_bpm(90)):
        with pytest.raises(ParameterError, match="MIDI clock"):
            change()
    clock.midi(codes["songpos"], 1001.0, (16, 0))
    clock.follow("internal")
    assert clock.grid().bpm == pytest.approx(120)  # Nothing jumps when it is left.
    clock.set_bpm(90)
    assert clock.grid().bpm == 90


def test_a_tempo_that_another_program_changes_is_reported_and_a_tremble_is_not() -> None:
    session, reports = JumpingSession(), list[float]()
    clock = TempoClock(100, 4, Clock(), lambda _bpm: session)
    clock.on_tempo = lambda: reports.append(clock.shown_bpm)
    clock.follow("link")
    session.beats = BeatGrid(111, 1000.0)
    session.listener()
    clock.follow("midi")
    noise = random.Random(7)
    for number in range(300):
        clock.midi(0xF8, 1000 + number * PULSE + noise.uniform(-1e-4, 1e-4))
    assert reports[0] == 111
    assert reports[-1] == pytest.approx(120, abs=0.5)
    assert len(reports) < 10


def test_link_gives_the_beats_of_others_and_takes_a_tempo() -> None:
    session = JumpingSession()
    clock = TempoClock(120, 4, Clock(), lambda _bpm: session)
    clock.follow("link")
    assert clock.grid() == session.beats
    clock.set_bpm(140)
    assert clock.grid().bpm == 140
    clock.close()
    assert session.left
    assert clock.grid().bpm == 140


class BrokenLibrary:
    """Library of Ableton Link in a session whose tempo and beat a test sets, also to nonsense."""

    bpm, beat, enabled = 100.0, 0.0, False

    def Link(self, _bpm: float) -> "BrokenLibrary":
        return self

    clock = captureSessionState = lambda self: self

    def micros(self) -> int:
        return 0

    def tempo(self) -> float:
        return self.bpm

    def beatAtTime(self, _micros: int, _quantum: float) -> float:
        if self.beat < 0:
            raise RuntimeError("broken")
        return self.beat


@pytest.mark.parametrize(
    ("bpm", "beat"), [(0.0, 1.0), (math.nan, 1.0), (1e9, 1.0), (100.0, math.inf), (100.0, -1.0)]
)
def test_nonsense_from_link_leaves_the_last_beats_and_is_reported_once(
    bpm: float, beat: float, caplog: pytest.LogCaptureFixture
) -> None:
    library = BrokenLibrary()
    session = AbletonLink(library, 120)
    assert session.grid(4).bpm == 100
    library.bpm, library.beat = bpm, beat
    before = session.grid(4)
    assert session.grid(4) == before
    assert before.bpm == 100
    assert len(caplog.records) == 1


def test_link_without_its_package_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "link", None)
    clock = TempoClock()
    with pytest.raises(ParameterError, match=r"pip install \"streamcam\[link\]\""):
        clock.follow("link")
    assert clock.source == "internal"


def test_two_peers_of_link_share_tempo_and_beat() -> None:
    pytest.importorskip("link")
    ours, theirs = join_session(120), join_session(90)
    try:
        until(lambda: min(ours.peers, theirs.peers) >= 1)  # type: ignore[attr-defined]
        heard = Event()
        ours.listen(heard.set)
        theirs.set_bpm(133)
        assert heard.wait(10)
        until(lambda: abs(ours.grid(4).bpm - 133) < 0.01)
        now = time.monotonic()
        apart = ours.grid(4).phase_at(now, 4) - theirs.grid(4).phase_at(now, 4)
        assert abs((apart + 0.5) % 1 - 0.5) < 0.01
        ours.begin_bar(4)
    finally:
        ours.leave()
        theirs.leave()
