"""MIDI learn: from what a control sends to the mapping that it gets."""

import pytest

from streamcam.control.midi.control_targets import Targets
from streamcam.control.midi.controls import Control, Decoder, Movement
from streamcam.control.midi.learning import PATIENCE_S, Learner
from streamcam.control.midi.mapping import Assignment
from tests.control.midi.controller import surface_of
from tests.support.memory_midi import mido


def turned(number: int, *values: int) -> list[int]:
    return [byte for value in values for byte in (0xB0, number, value)]


def pair(*values: int) -> list[int]:
    return [b for v in values for b in (0xB0, 1, v >> 7, 0xB0, 33, v & 127)]


@pytest.fixture(scope="module")
def targets() -> Targets:
    return Targets(surface_of())


def movements_of(*data: int) -> list[Movement]:
    decoder = Decoder()
    return [m for message in mido.Parser(data) for m in decoder.feed(message)]


PARAMETER = [0xB0, 99, 2, 0xB0, 98, 44, 0xB0, 6, 10, 0xB0, 38, 3]


@pytest.mark.parametrize(
    ("address", "data", "control", "options"),
    [
        ("mix", turned(7, 3, 4, 5, 9), "cc 7 ch 1", {}),
        ("mix", turned(7, 0, 3, 4, 5), "cc 7 ch 1", {}),
        ("mix", [*turned(7, 3), *turned(8, 1, 2, 3)], "cc 8 ch 1", {}),
        ("mix", pair(100, 130, 260, 400), "cc14 1 ch 1", {}),
        ("mix", PARAMETER * 3, "nrpn 300 ch 1", {}),
        ("mix", turned(7, 1, 1, 1, 127, 127), "cc 7 ch 1", {"relative": "twos-complement"}),
        ("mix", turned(7, 65, 65, 65), "cc 7 ch 1", {"relative": "auto"}),
        ("mix", [0xE3, 5, 5, 0xE3, 6, 6], "pitch ch 4", {}),
        ("mix", [0x90, 104, 127, *[0xE0, 5, 5] * 4], "pitch ch 1", {}),
        ("freeze", turned(32, 127, 0), "cc 32 ch 1", {}),
        ("freeze", turned(7, 50, 60, 70), "cc 7 ch 1", {"mode": "follow"}),
        ("rotate", turned(32, 127, 0), "cc 32 ch 1", {"mode": "toggle"}),
        ("freeze", [0x95, 36, 90], "note 36 ch 6", {}),
        ("freeze", [0xC0, 4], "program 4 ch 1", {}),
        ("preset/load", [0xC0, 4], "program ch 1", {}),
        ("snapshot", [0x80, 35, 0, 0x90, 36, 90], "note 36 ch 1", {}),
    ],
)
def test_the_control_that_is_moved_is_known_by_what_it_sends(
    targets: Targets, address: str, data: list[int], control: str, options: dict[str, str]
) -> None:
    learner = Learner()
    assert learner.start(targets.find(address), None, now=0)
    assert learner.address == address
    assert learner.feed("Port", movements_of(*data), now=1)
    assert learner.result(now=3) == (
        "Port",
        Control.parse(control),
        Assignment(address=address, **options),
    )
    assert learner.address == ""
    assert not learner.feed("Port", movements_of(*data), now=4)


def test_a_fader_is_watched_until_it_rests_and_a_pad_counts_at_once(targets: Targets) -> None:
    learner = Learner()
    learner.start(targets.find("mix"), None, now=0)
    learner.feed("Port", movements_of(*turned(1, 4, 5)), now=1.0)
    assert learner.result(now=1.2) is None
    learner.feed("Port", movements_of(*turned(1, 6)), now=1.3)
    learner.feed("Other", movements_of(*turned(2, 6, 7, 8, 9, 10)), now=1.4)
    assert learner.result(now=1.6) is None
    learnt = learner.result(now=1.8)
    assert learnt is not None
    assert learnt[:2] == ("Port", Control("cc", 1, 1))
    learner.start(targets.find("preset/load"), "neon", now=2)
    learner.feed("Port", movements_of(0x90, 36, 1, 0x90, 37, 1), now=2)
    assert learner.start(targets.find("panic"), None, now=2)
    learner.feed("Port", movements_of(0x90, 36, 1), now=2)
    learnt = learner.result(now=2)
    assert learnt is not None
    assert learnt[1] == Control("note", 36, 1)


def test_learning_ends_when_it_is_asked_for_again_or_nothing_moves(targets: Targets) -> None:
    learner = Learner()
    assert learner.start(targets.find("mix"), None, now=0)
    assert not learner.start(targets.find("mix"), None, now=1)
    assert learner.address == ""
    learner.start(targets.find("mix"), None, now=0)
    assert learner.start(targets.find("detail"), None, now=1)
    assert learner.address == "detail"
    assert not learner.expired(now=PATIENCE_S)
    assert learner.expired(now=PATIENCE_S + 2)
    assert learner.address == ""
