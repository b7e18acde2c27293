"""The MIDI room as a whole: ports come and go, are learnt, and the show goes on."""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from streamcam.control.messages import Argument, Message
from streamcam.control.midi import midi_backend
from streamcam.control.midi.control_targets import Targets
from streamcam.control.midi.mapping_store import MappingStore
from streamcam.control.midi.midi_backend import (
    check_sequencer,
    chosen,
    input_names,
    load_backend,
    missing,
    output_for,
    title_of,
)
from streamcam.control.midi.midi_control import MidiControl
from streamcam.control.midi.open_port import OpenPort
from streamcam.control.midi.plugged_ports import PluggedPorts
from streamcam.errors import ConfigError, DeviceError
from tests.control.midi.controller import surface_of
from tests.support.memory_midi import MemoryMidi

TIMEOUT_S = 20.0


class Room:
    """A running MIDI room at a machine with one controller."""

    def __init__(self, folder: Path, **given: Any) -> None:
        self.folder = folder
        self.surface = surface_of(midi="auto", **given)
        # The last is what this library shows of an output that is open.
        self.machine = MemoryMidi(
            "Midi Through:Midi Through Port-0 14:0",
            "Pads 20:0",
            "RtMidiOut Client:RtMidi output 129:0",
        )
        self.reports: list[str] = []
        self.clock: list[tuple[int, Sequence[int]]] = []
        self.control = MidiControl(
            self.surface,
            self.reports.append,
            on_clock=lambda status, _at, data: self.clock.append((status, data)),
            backend=self.machine.backend,
            folder=lambda: folder,
            poll_s=0.01,
        )

    def send(self, address: str, *arguments: Argument) -> list[tuple[str, str]]:
        """Send a message as another client; return what was refused."""
        return self.surface.apply([Message(f"/streamcam/{address}", arguments)], "osc").refused

    def value(self, address: str) -> tuple[Argument, ...]:
        found = self.surface.value_of(f"/streamcam/{address}")
        assert found is not None
        return found.arguments


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until `condition` is true."""
    pause, waited_s = threading.Event(), 0.0
    while not condition():
        assert waited_s < TIMEOUT_S
        pause.wait(0.005)
        waited_s += 0.005


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path / "midi", mix=0.5)
    with room.control:
        wait_for(lambda: room.value("midi/ports") == ("Pads",))
        yield room
    assert room.machine.opened == {}


def test_a_control_is_learnt_changes_the_value_shows_it_and_is_forgotten(room: Room) -> None:
    assert room.send("midi/learn", "mix") == []
    assert room.value("midi/learn") == ("mix",)
    room.machine.play("Pads 20:0", *(b for value in (60, 61, 62) for b in (0xB0, 3, value)))
    wait_for(lambda: room.value("midi/mappings") == ("mix: cc 3 ch 1, Pads",))
    assert room.value("midi/learn") == ("",)
    file = room.folder / "Pads.toml"
    wait_for(file.exists)
    assert '"cc 3 ch 1" = "mix"' in file.read_text(encoding="utf-8")
    assert room.surface.control.target.mix == 0.5
    room.machine.play("Pads 20:0", 0xB0, 3, 63, 0xB0, 3, 127)
    wait_for(lambda: room.surface.control.target.mix == 1)
    room.send("mix", 0.0)
    wait_for(lambda: ("Pads 20:0", [0xB0, 3, 0]) in room.machine.sent)
    assert room.send("midi/forget", "mix") == []
    assert room.value("midi/mappings") == ("",)
    wait_for(lambda: "cc 3" not in file.read_text(encoding="utf-8"))
    [(_, reason)] = room.send("midi/forget", "mix")
    assert reason == "no MIDI control is mapped to mix"
    assert room.reports == []


def test_a_pad_learns_a_value_and_an_edited_file_is_read_again(room: Room) -> None:
    room.send("midi/learn", "preset/load", "neon")
    assert room.value("midi/learn") == ("preset/load", "neon")
    room.machine.play("Pads 20:0", 0x90, 36, 100)
    file = room.folder / "Pads.toml"
    wait_for(file.exists)
    assert room.value("midi/mappings") == ("preset/load neon: note 36 ch 1, Pads",)
    assert 'value = "neon"' in file.read_text(encoding="utf-8")
    wait_for(lambda: room.value("midi/learn") == ("",))
    room.machine.play("Pads 20:0", 0x80, 36, 0, 0x90, 36, 100)
    wait_for(lambda: room.surface.presets.current == "neon")
    file.write_text('[controls]\n"note 36" = "freeze"\n"note 37" = "frieze"\n', encoding="utf-8")
    wait_for(lambda: room.value("midi/mappings") == ("freeze: note 36, Pads",))
    assert any("line 3" in line and "left out" in line for line in room.reports)
    room.machine.play("Pads 20:0", 0x90, 36, 100)
    wait_for(lambda: room.surface.control.target.freeze)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("mixx",), "did you mean"),
        (("prompt",), "takes more than a control sends"),
        ((5,), "takes an address"),
        (("prompt", "x" * 1001), "1000 bytes at most"),
        (("mix", math.nan), "finite"),
    ],
)
def test_what_cannot_be_learnt_is_refused_with_the_remedy(
    room: Room, arguments: tuple[Argument, ...], reason: str
) -> None:
    [(_, refused)] = room.send("midi/learn", *arguments)
    assert reason in refused
    assert room.value("midi/learn") == ("",)
    [(_, refused)] = room.send("midi/ports", "x")
    assert refused == "is only read"


def test_the_clock_of_one_port_is_passed_on(room: Room) -> None:
    room.machine.plug_in("Other 24:0")
    wait_for(lambda: "Other 24:0" in room.machine.opened)
    room.machine.play("Pads 20:0", 0xFA, 0xF8, 0xF2, 1, 2, 0xFC)
    wait_for(lambda: len(room.clock) == 4)
    room.machine.play("Other 24:0", 0xF8)
    room.machine.play("Pads 20:0", 0xF8)
    wait_for(lambda: len(room.clock) == 5)
    assert room.clock == [
        (0xFA, []),
        (0xF8, []),
        (0xF2, [1, 2]),
        (0xFC, []),
        (0xF8, []),
    ]


def test_a_port_that_vanishes_is_reported_once_and_used_again(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    room.machine.unplug("Pads 20:0")
    wait_for(lambda: room.value("midi/ports") == ("",))
    # Its number is another one now.
    room.machine.plug_in("Pads 28:0")
    wait_for(lambda: room.value("midi/ports") == ("Pads",))
    assert room.reports == ["MIDI: Pads is gone; it is used again when it is back"]
    assert [r.getMessage() for r in caplog.records] == ["MIDI: Pads is connected"]
    room.machine.play("Pads 28:0", 0xC0, 1)
    wait_for(lambda: room.surface.presets.current == room.surface.presets.names[1])


def ports_of(machine: MemoryMidi, folder: Path, reports: list[str], *wanted: str) -> PluggedPorts:
    surface = surface_of()
    targets = Targets(surface)
    store = MappingStore(targets.check, lambda: folder)

    def prepare(name: str, title: str) -> OpenPort:
        return OpenPort(name, surface, targets, store.load(title), lambda: None)

    return PluggedPorts(wanted, machine.backend, prepare, reports.append)


def test_a_busy_port_and_a_missing_one_are_reported_once_and_tried_again(tmp_path: Path) -> None:
    machine, reports = MemoryMidi("Pads", "Keys"), []
    machine.busy.add("Pads")
    ports = ports_of(machine, tmp_path, reports, "pads", "nanoKONTROL")
    for _ in range(3):
        ports.poll()
    assert sorted(reports) == [
        'MIDI: no MIDI port "nanoKONTROL" so far: known: Keys, Pads; it is used as soon as it is'
        " there",
        'MIDI: the MIDI port "Pads" cannot be opened: Device or resource busy; another program may'
        " have it",
    ]
    machine.busy.clear()
    machine.plug_in("nanoKONTROL2 SLIDER/KNOB")
    ports.poll()
    assert ports.titles == ("Pads", "nanoKONTROL2 SLIDER/KNOB")
    assert all(port.output for port in ports.ports)
    machine.failing = True
    ports.send_feedback(ports.ports[1], 0.0)
    ports.send_feedback(ports.ports[1], 1.0)
    assert reports[2:] == ["MIDI: no feedback to nanoKONTROL2 SLIDER/KNOB: No such device"]
    machine.failing = False
    ports.poll()
    ports.send_feedback(ports.ports[1], 2.0)
    shown = {tuple(data[:2]) for name, data in machine.sent if name.startswith("nano")}
    assert {(0xB0, number) for number in (1, 2, 3, 4, 41, 60)} <= shown
    ports.close()
    assert machine.opened == {}


def test_a_flood_is_applied_in_batches(tmp_path: Path) -> None:
    room = Room(tmp_path, seed=0)
    room.machine.plug_in("Wheel")
    (tmp_path / "Wheel.toml").write_text('[controls]\n"cc 1" = "mix"\n', encoding="utf-8")
    changes: list[float] = []
    room.surface.control.listen(lambda _before, after: changes.append(after.mix))
    with room.control:
        wait_for(lambda: "Wheel" in room.machine.opened)
        flood = [byte for n in range(3000) for byte in (0xB0, 1, n % 128)]
        room.machine.play("Wheel", *flood, 0xB0, 1, 127, 0xB0, 1, 5)
        wait_for(lambda: changes and changes[-1] == pytest.approx(5 / 127))
    assert len(changes) < 300


NAMES = ["Midi Through:Midi Through Port-0 14:0", "nanoKONTROL2:nanoKONTROL2 MIDI 1 20:0", "Keys"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["auto"], NAMES[1:]),
        (["nanokontrol2"], [NAMES[1]]),
        (["Keys", "auto"], [NAMES[2], NAMES[1]]),
        (["through"], [NAMES[0]]),
        (["nothing"], []),
    ],
)
def test_ports_are_chosen_by_name_or_a_part_of_it(wanted: list[str], found: list[str]) -> None:
    assert chosen(wanted, NAMES) == found


def test_a_name_that_no_port_has_is_answered_with_the_nearest() -> None:
    [line] = missing(["nanoKONTROL2:nanoKONTROL3 MIDI 1"], NAMES)
    assert line.endswith('did you mean "nanoKONTROL2:nanoKONTROL2 MIDI 1"?')
    assert missing(["Keyz"], []) == ['no MIDI port "Keyz" so far: there is no MIDI input']
    assert missing(["auto", "keys"], NAMES) == []


def test_a_title_has_no_number_that_changes_and_finds_its_output() -> None:
    assert title_of(NAMES[1]) == "nanoKONTROL2:nanoKONTROL2 MIDI 1"
    outputs = ["Keys", "nanoKONTROL2:nanoKONTROL2 MIDI 1 20:0"]
    assert output_for(NAMES[1], outputs) == outputs[1]
    assert output_for("nanoKONTROL2 SLIDER/KNOB", ["Keys", "nanoKONTROL2 CTRL"]) == (
        "nanoKONTROL2 CTRL"
    )
    assert output_for("Keys", ["Pads"]) is None


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(midi_backend.sys.modules, "mido", None)
    with pytest.raises(ConfigError, match=r'run pip install "streamcam\[midi\]"'):
        MidiControl(surface_of(midi="auto"), print)


def test_the_library_for_real_ports_lists_none_or_says_why(tmp_path: Path) -> None:
    pytest.importorskip("rtmidi")
    backend = load_backend()
    with suppress(DeviceError):
        assert all(isinstance(name, str) for name in input_names(backend))
    if midi_backend.sys.platform == "linux":
        with pytest.raises(DeviceError, match="sudo modprobe snd-seq"):
            check_sequencer(backend, tmp_path / "seq")
