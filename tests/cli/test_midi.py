"""``streamcam midi`` with ports in memory."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from streamcam.cli import midi as command
from streamcam.control.midi.mapping_store import MappingStore
from streamcam.errors import StreamcamError
from streamcam.settings.presets import shipped_folder
from tests.support.memory_midi import MemoryMidi

NANO = "nanoKONTROL2:nanoKONTROL2 nanoKONTROL2 _ CTR 24:0"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryMidi:
    machine = MemoryMidi(NANO, "Keys")
    monkeypatch.setattr(command, "load_backend", machine.use)
    store = command._store
    monkeypatch.setattr(command, "_store", lambda: MappingStore(store().check, lambda: tmp_path))
    return machine


def test_inputs_are_listed_with_the_files_they_are_mapped_by(machine: MemoryMidi) -> None:
    machine.outputs.remove("Keys")
    first, second = CliRunner().invoke(command.midi, ["list"]).output.splitlines()
    assert first.startswith("nanoKONTROL2:nanoKONTROL2")
    assert first.endswith("nanokontrol2.toml")
    assert second == "Keys: not mapped yet, no feedback"


def test_what_a_controller_sends_is_shown_with_what_it_changes(
    machine: MemoryMidi, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = command._show

    def shown(received: object, decoders: object) -> None:
        machine.play(NANO, 0xB0, 0, 64, 0xF8, 0xB0, 100, 5)
        machine.play("Keys", 0xC0, 3)
        monkeypatch.setattr(command.click, "echo", echo)
        show(received, decoders)  # type: ignore[arg-type]

    lines: list[str] = []

    def echo(line: str, **_options: object) -> None:
        lines.append(line)
        if len(lines) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "_show", shown)
    CliRunner().invoke(command.midi, ["monitor"])
    assert [line.partition(": ")[2] for line in lines] == [
        "cc 0 ch 1 = 64 -> strength",
        "cc 100 ch 1 = 5",
        "program 3 ch 1 = 3 -> preset/load",
    ]
    assert machine.opened == {}


@pytest.mark.usefixtures("machine")
def test_a_port_that_is_not_there_is_named() -> None:
    error = CliRunner().invoke(command.midi, ["monitor", "Keyz"]).exception
    assert str(error) == 'no MIDI port "Keyz" so far: did you mean "Keys"?'


@pytest.mark.usefixtures("machine")
def test_a_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('[controls]\n"cc 1" = "mixx"\n', encoding="utf-8")
    result = CliRunner().invoke(command.midi, ["check", str(file)])
    assert f"{file}, line 2: " in result.output
    assert isinstance(result.exception, StreamcamError)
    shipped = shipped_folder() / "controllers" / "nanokontrol2.toml"
    assert "all right" in CliRunner().invoke(command.midi, ["check", str(shipped)]).output
