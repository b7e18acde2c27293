"""Bytes of MIDI devices to movements: 7 and 14 bits, parameters, notes, programs."""

from collections.abc import Iterator

import pytest

from streamcam.control.midi.controls import Control, Decoder, Movement, messages_for
from streamcam.errors import ConfigError

mido = pytest.importorskip("mido")


def moved(decoder: Decoder, *data: int) -> list[Movement]:
    return [m for message in mido.Parser(data) for m in decoder.feed(message)]


def positions(movements: list[Movement], name: str) -> list[float]:
    control = Control.parse(name)
    return [m.share for m in movements if m.control == control]


@pytest.mark.parametrize(
    ("data", "name", "share", "raw"),
    [
        ((0xB0, 7, 127), "cc 7 ch 1", 1.0, 127),
        ((0xBF, 7, 0), "cc 7 ch 16", 0.0, 0),
        ((0x93, 36, 100), "note 36 ch 4", 100 / 127, 100),
        ((0x93, 36, 0), "note 36 ch 4", 0.0, 0),
        ((0x83, 36, 64), "note 36 ch 4", 0.0, 0),
        ((0xC2, 5), "program 5 ch 3", 1.0, 5),
        ((0xE0, 0x7F, 0x7F), "pitch ch 1", 1.0, 16383),
        ((0xE0, 0, 0), "pitch ch 1", 0.0, 0),
        ((0xE0, 0, 0x40), "pitch ch 1", 8192 / 16383, 8192),
        ((0xD0, 127), "aftertouch ch 1", 1.0, 127),
        ((0xA0, 36, 127), "aftertouch 36 ch 1", 1.0, 127),
    ],
)
def test_each_kind_of_message_moves_its_control(
    data: tuple[int, ...], name: str, share: float, raw: int
) -> None:
    assert moved(Decoder(), *data) == [Movement(Control.parse(name), share, raw)]


def test_two_halves_make_a_controller_of_14_bits() -> None:
    decoder = Decoder()
    movements = moved(decoder, 0xB0, 1, 0x40, 0xB0, 33, 0x01)
    assert positions(movements, "cc14 1 ch 1") == [0x2001 / 16383]
    assert positions(movements, "cc 1 ch 1") == [64 / 127]
    assert list(decoder.flush()) == []
    # The upper half stays as it was.
    assert positions(moved(decoder, 0xB0, 33, 2), "cc14 1 ch 1") == [0x2002 / 16383]


def test_a_first_half_alone_counts_after_a_while() -> None:
    decoder = Decoder()
    moved(decoder, 0xB0, 1, 127)
    assert list(decoder.flush()) == []
    assert positions(list(decoder.flush()), "cc14 1 ch 1") == [1.0]
    assert not decoder.is_waiting


def test_a_parameter_is_selected_and_then_set() -> None:
    decoder = Decoder()
    select = (0xB0, 99, 2, 0xB0, 98, 44)
    movements = moved(decoder, *select, 0xB0, 6, 0x7F, 0xB0, 38, 0x7F)
    assert positions(movements, "nrpn 300 ch 1") == [1.0]
    assert positions(moved(decoder, 0xB0, 6, 0, 0xB0, 38, 1), "nrpn 300 ch 1") == [1 / 16383]
    [step] = [m for m in moved(decoder, 0xB0, 97, 0) if m.control.kind == "nrpn"]
    assert step.steps == -1


def test_a_registered_parameter_and_none_at_all_are_not_taken_for_it() -> None:
    decoder = Decoder()
    moved(decoder, 0xB0, 99, 2, 0xB0, 98, 44, 0xB0, 101, 0, 0xB0, 100, 0)
    assert positions(moved(decoder, 0xB0, 6, 1, 0xB0, 38, 1), "nrpn 300 ch 1") == []
    moved(decoder, 0xB0, 99, 127, 0xB0, 98, 127)
    assert all(m.control.kind != "nrpn" for m in moved(decoder, 0xB0, 6, 1, 0xB0, 38, 1))


@pytest.mark.parametrize("name", ["cc 7", "cc14 1", "nrpn 300", "note 36", "pitch"])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_what_is_sent_back_moves_the_same_control(name: str, share: float) -> None:
    control = Control.parse(f"{name} ch 3")

    def echoed() -> Iterator[Movement]:
        decoder = Decoder()
        for kind, fields in messages_for(control, share):
            yield from moved(decoder, *mido.Message(kind, **fields).bytes())

    *_, last = [m for m in echoed() if m.control == control]
    assert last.share == pytest.approx(share, abs=0.5 / 127)


@pytest.mark.parametrize(
    "name", ["cc 7", "cc14 31 ch 16", "nrpn 16383", "note 0 ch 1", "program", "program 3", "pitch"]
)
def test_names_of_controls_are_read_as_they_are_written(name: str) -> None:
    assert str(Control.parse(name)) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is no control"),
        ("fader 1", "is no control"),
        ("cc", "lacks the number"),
        ("cc 128", "cc goes from 0 to 127"),
        ("cc14 32", "cc14 goes from 0 to 31"),
        ("pitch 3", "pitch takes no number"),
        ("cc 1 ch 0", "channels go from 1 to 16"),
        ("cc 1 ch 17", "channels go from 1 to 16"),
        ("cc 999999", "is no control"),
        ("cc -1", "is no control"),
    ],
)
def test_names_that_are_wrong_are_explained(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Control.parse(name)
