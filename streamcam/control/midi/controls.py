"""Controls of a MIDI device: their names in files, and their movements in its messages."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from streamcam.errors import ConfigError

KINDS = ("cc", "cc14", "nrpn", "note", "program", "pitch", "aftertouch")
NUMBERS = {"cc": 127, "cc14": 31, "nrpn": 16383, "note": 127, "program": 127, "aftertouch": 127}
"""The highest number of each kind; a pitch wheel has none."""
WITHOUT_NUMBER = ("program", "pitch", "aftertouch")
"""Kinds that may stand without a number: any program, the wheel, the pressure of a channel."""
SYNTAX = re.compile(r"([a-z]+(?:14)?)(?: (\d{1,5}))?(?: ch (\d{1,2}))?")
FULL = 16383
"""Highest value of 14 bits."""
DATA, DATA_LSB, INCREMENT, DECREMENT = 6, 38, 96, 97
NRPN_LSB, NRPN_MSB, RPN_LSB, RPN_MSB = 98, 99, 100, 101


class Control(NamedTuple):
    """A fader, knob, button or pad, as MIDI names it."""

    kind: str
    number: int | None = None
    channel: int | None = None
    """From 1 to 16; None is any."""

    @classmethod
    def parse(cls, text: str) -> "Control":
        """Read ``cc 7``, ``cc14 1 ch 2``, ``nrpn 300``, ``note 36``, ``program``, ``pitch ch 1``.

        Raises:
            ConfigError: it is none of these.
        """
        match = SYNTAX.fullmatch(" ".join(text.split()))
        kind = match[1] if match else ""
        if match is None or kind not in KINDS:
            raise ConfigError(
                f'"{text:.40}" is no control: write it as cc 7, cc14 1, nrpn 300, note 36, program,'
                " pitch or aftertouch, with ch 1 to 16 after it for one channel"
            )
        number = int(match[2]) if match[2] else None
        channel = int(match[3]) if match[3] else None
        if number is None and kind not in WITHOUT_NUMBER:
            raise ConfigError(f'"{text:.40}" lacks the number of the control, such as {kind} 7')
        if number is not None and number > NUMBERS.get(kind, -1):
            limit = f"goes from 0 to {NUMBERS[kind]}" if kind in NUMBERS else "takes no number"
            raise ConfigError(f'"{text:.40}": {kind} {limit}')
        if channel is not None and not 1 <= channel <= 16:
            raise ConfigError(f'"{text:.40}": channels go from 1 to 16')
        return cls(kind, number, channel)

    def __str__(self) -> str:
        number = "" if self.number is None else f" {self.number}"
        return f"{self.kind}{number}" + ("" if self.channel is None else f" ch {self.channel}")


@dataclass(slots=True)
class Movement:
    """One movement of a control."""

    control: Control
    share: float
    """Position from 0 to 1; of a note how hard it is hit, 0 when it is released."""
    raw: int
    """The value as sent: 7 bits, or 14 for `cc14`, `nrpn` and `pitch`."""
    steps: int | None = None
    """Steps up or down, from a control that sends only those."""


class MidiMessage(Protocol):
    """A message as mido parses it."""

    type: str

    def bytes(self) -> list[int]: ...


@dataclass
class _Channel:
    """State of one channel: the first halves of values, and the parameter that is selected."""

    high: dict[int, int] = field(default_factory=dict)
    nrpn_high: int | None = None
    nrpn_low: int | None = None
    is_rpn: bool = False
    data_high: int = 0

    @property
    def nrpn(self) -> int | None:
        """Number of the selected parameter, None if none is."""
        if self.is_rpn or self.nrpn_high is None or self.nrpn_low is None:
            return None
        number = self.nrpn_high << 7 | self.nrpn_low
        return None if number == FULL else number


class Decoder:
    """Movements in the messages of one port.

    A controller may be read in several ways: CC 1 alone, with CC 33 as its lower half, or as part
    of a parameter's number. All are given; mappings say which is meant.
    """

    def __init__(self) -> None:
        self._channels: dict[int, _Channel] = {}
        self._halves: dict[Control, tuple[int, int]] = {}
        """First halves of values whose second halves have not come yet, and since which flush."""
        self._flushes = 0

    def feed(self, message: MidiMessage) -> Iterator[Movement]:
        """Yield what `message` moves."""
        status, *data = message.bytes()
        channel = (status & 0x0F) + 1
        match message.type:
            case "control_change":
                yield from self._controller(data[0], data[1], channel)
            case "note_on" | "note_off":
                velocity = data[1] if message.type == "note_on" else 0
                yield Movement(Control("note", data[0], channel), velocity / 127, velocity)
            case "program_change":
                yield Movement(Control("program", data[0], channel), 1.0, data[0])
            case "pitchwheel":
                value = data[1] << 7 | data[0]
                yield Movement(Control("pitch", None, channel), value / FULL, value)
            case "aftertouch":
                yield Movement(Control("aftertouch", None, channel), data[0] / 127, data[0])
            case "polytouch":
                yield Movement(Control("aftertouch", data[0], channel), data[1] / 127, data[1])

    def flush(self) -> Iterator[Movement]:
        """Yield the values of which only the first half has come, some time after it.

        Devices send both halves at once; some leave out the second, or have 7 bits only.
        """
        self._flushes += 1
        due = [c for c, (_, since) in self._halves.items() if since < self._flushes - 1]
        for control in due:
            high, _ = self._halves.pop(control)
            yield Movement(control, high / 127, high << 7)

    @property
    def is_waiting(self) -> bool:
        """Whether a second half is waited for."""
        return bool(self._halves)

    def _controller(self, number: int, value: int, channel: int) -> Iterator[Movement]:
        state = self._channels.setdefault(channel, _Channel())
        yield Movement(Control("cc", number, channel), value / 127, value)
        if number < 32:
            state.high[number] = value
            self._halves[Control("cc14", number, channel)] = (value, self._flushes)
        elif number < 64 and number - 32 in state.high:
            yield self._whole(Control("cc14", number - 32, channel), state.high[number - 32], value)
        yield from self._parameter(number, value, channel, state)

    def _parameter(
        self, number: int, value: int, channel: int, state: _Channel
    ) -> Iterator[Movement]:
        if number == NRPN_MSB:
            state.nrpn_high, state.is_rpn = value, False
        elif number == NRPN_LSB:
            state.nrpn_low, state.is_rpn = value, False
        elif number in (RPN_MSB, RPN_LSB):
            state.is_rpn = True
        if state.nrpn is None:
            return
        control = Control("nrpn", state.nrpn, channel)
        if number == DATA:
            state.data_high = value
            self._halves[control] = (value, self._flushes)
        elif number == DATA_LSB:
            yield self._whole(control, state.data_high, value)
        elif number in (INCREMENT, DECREMENT):
            yield Movement(control, 0.0, 0, 1 if number == INCREMENT else -1)

    def _whole(self, control: Control, high: int, low: int) -> Movement:
        self._halves.pop(control, None)
        value = high << 7 | low
        return Movement(control, value / FULL, value)


def messages_for(control: Control, share: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the kinds and fields of the mido messages that set `control` to `share` (0 to 1)."""
    channel = (control.channel or 1) - 1
    seven, fourteen = round(share * 127), round(share * FULL)
    number = control.number

    def controller(number: int, value: int) -> tuple[str, dict[str, Any]]:
        return "control_change", {"channel": channel, "control": number, "value": value}

    match control.kind:
        case "cc" if number is not None:
            yield controller(number, seven)
        case "note":
            yield "note_on", {"channel": channel, "note": number, "velocity": seven}
        case "pitch":
            yield "pitchwheel", {"channel": channel, "pitch": fourteen - 8192}
        case "cc14" if number is not None:
            yield controller(number, fourteen >> 7)
            yield controller(number + 32, fourteen & 127)
        case "nrpn" if number is not None:
            yield controller(NRPN_MSB, number >> 7)
            yield controller(NRPN_LSB, number & 127)
            yield controller(DATA, fourteen >> 7)
            yield controller(DATA_LSB, fourteen & 127)
