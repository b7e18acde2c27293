"""Files of mappings: read with the lines of errors, written without losing a line."""

import os
import re
from pathlib import Path

import pytest

from streamcam.control.midi.control_targets import Targets
from streamcam.control.midi.controls import Control
from streamcam.control.midi.mapping import Assignment
from streamcam.control.midi.mapping_file import parse_mapping, written
from streamcam.control.midi.mapping_store import MappingStore, safe_name
from streamcam.errors import ConfigError
from streamcam.settings.presets import shipped_folder
from tests.control.midi.controller import surface_of

CHECK = Targets(surface_of()).check

TEXT = """\
# My controller.
pickup = false  # It has motors.

[controls]
# The left hand.
"cc 0" = "strength"
'cc 1 ch 2' = { address = "mix", range = [1, 0] }  # backwards
"note 36" = [ "freeze", { address = "prompt", value = "oil \\"on\\" canvas" } ]
"""


@pytest.fixture
def store(tmp_path: Path) -> MappingStore:
    return MappingStore(CHECK, lambda: tmp_path / "midi")


def write(store_folder: Path, name: str, text: str) -> Path:
    store_folder.mkdir(exist_ok=True)
    path = store_folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_mapping_is_the_same_after_it_was_written_and_read() -> None:
    mapping, problems = parse_mapping(TEXT, "x.toml", CHECK)
    assert problems == ()
    assert not mapping.settings.pickup
    assert mapping.controls[Control("cc", 1, 2)] == (Assignment(address="mix", range=(1, 0)),)
    assert parse_mapping(written(mapping, "again"), "y.toml", CHECK).mapping == mapping


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('"cc 0" = "strenght"', 'did you mean "/streamcam/strength"?'),
        ('"cc 0" = "prompt"', "prompt takes more than a control sends"),
        ('"cc 0" = "t_index_list"', "give a value that is sent"),
        ('"cc 200" = "mix"', "cc goes from 0 to 127"),
        ('"fader 1" = "mix"', '"fader 1" is no control'),
        ('"cc 0" = 3', "takes an address"),
        ('"cc 0" = { adress = "mix" }', "takes an address, or a table"),
        ('"cc 0" = { address = "mix", rang = [0, 1] }', 'did you mean "range"?'),
        ('"cc 0" = { address = "mix", range = [1, 1] }', "the two ends must differ"),
        ('"cc 0" = { address = "mix", relative = "both" }', "relative: input should be 'off'"),
        ('"cc 0" = { address = "mix", step = -1 }', "greater than 0"),
    ],
)
def test_a_wrong_line_is_named_and_left_out_alone(line: str, reason: str) -> None:
    text = f'[controls]\n"cc 7" = "mix"\n\n{line}\n'
    mapping, [problem] = parse_mapping(text, "my.toml", CHECK)
    assert problem.startswith("my.toml, line 4: ")
    assert reason in problem
    assert list(mapping.controls) == [Control("cc", 7)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[controls\n"cc 0" = "mix"', "is not valid TOML"),
        ('[controls]\n"cc 0" = "mix"\n"cc 0" = "detail"', "is not valid TOML"),
        ("pikup = true", 'unknown setting "pikup": did you mean "pickup"?'),
        ("pickup = 3", "pickup: "),
        ("controls = 3", "must be a table"),
        ("x = " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained_and_never_written(
    store: MappingStore, tmp_path: Path, text: str, reason: str
) -> None:
    path = write(tmp_path / "midi", "My Pads.toml", text)
    stored = store.load("My Pads")
    assert stored.is_damaged
    assert reason in stored.problems[0]
    with pytest.raises(ConfigError, match="mend it"):
        store.save("My Pads", stored, stored.mapping)
    assert path.read_text(encoding="utf-8") == text


def test_learning_changes_a_line_and_keeps_all_others(store: MappingStore, tmp_path: Path) -> None:
    path = write(tmp_path / "midi", "My Pads.toml", TEXT)
    stored = store.load("My Pads")
    mapping = stored.mapping.with_(Control("cc", 0), Assignment(address="detail"))
    stored = store.save("My Pads", stored, mapping)
    assert stored.mapping == mapping
    lines = TEXT.splitlines()
    lines.remove('"cc 0" = "strength"')
    assert path.read_text(encoding="utf-8").splitlines() == [*lines, '"cc 0" = "detail"']
    assert not store.has_changed("My Pads", stored)
    after = store.save("My Pads", stored, mapping.without("detail"))
    assert path.read_text(encoding="utf-8").splitlines() == lines
    assert [p.name for p in path.parent.iterdir()] == ["My Pads.toml"]
    path.write_text(TEXT, encoding="utf-8")
    assert store.has_changed("My Pads", after)


def test_what_was_edited_since_it_was_read_is_kept(store: MappingStore, tmp_path: Path) -> None:
    path = write(tmp_path / "midi", "Pads.toml", '[controls]\n"cc 0" = "mix"\n')
    stored = store.load("Pads")
    path.write_text('[controls]\n"cc 0" = "seed"\n"cc 1" = "delta"\n', encoding="utf-8")
    mapping = stored.mapping.with_(Control("cc", 2), Assignment(address="detail"))
    after = store.save("Pads", stored, mapping).mapping.controls
    assert [entries[0].address for entries in after.values()] == ["seed", "delta", "detail"]


def test_what_lines_cannot_be_replaced_in_is_written_as_a_whole(
    store: MappingStore, tmp_path: Path
) -> None:
    text = 'controls = { "cc 0" = "mix", "cc 1" = "detail" }\n'
    path = write(tmp_path / "midi", "Pads.toml", text)
    stored = store.load("Pads")
    mapping = stored.mapping.with_(Control("cc", 0), Assignment(address="strength"))
    assert store.save("Pads", stored, mapping).mapping == mapping
    assert '"cc 0" = "strength"' in path.read_text(encoding="utf-8")


def test_a_file_may_be_for_every_port_whose_name_holds_a_word(
    store: MappingStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "midi", "stage.toml", f'port = "launchpad"\n{TEXT}')
    stored = store.load("Launchpad X:Launchpad X LPX MIDI")
    assert (stored.path, len(stored.mapping.controls)) == (path, 3)
    assert store.load("Something else").mapping.controls == {}


def test_a_mapping_that_comes_with_streamcam_is_copied_before_it_is_changed(
    store: MappingStore, tmp_path: Path
) -> None:
    shipped = shipped_folder() / "controllers" / "nanokontrol2.toml"
    before = shipped.read_bytes()
    title = "nanoKONTROL2:nanoKONTROL2 nanoKONTROL2 _ CTR"
    stored = store.load(title)
    assert stored.path == shipped
    mapping = stored.mapping.with_(Control("cc", 16, 1), Assignment(address="seed"))
    own = store.save(title, stored, mapping)
    assert own.path == tmp_path / "midi" / f"{title.replace(':', '-')}.toml"
    assert store.load(title).mapping.controls == mapping.controls
    assert shipped.read_bytes() == before
    assert store.has_changed(title, stored)


@pytest.mark.parametrize(
    "path", sorted((shipped_folder() / "controllers").glob("*.toml")), ids=lambda path: path.stem
)
def test_shipped_mappings_are_valid_and_change_every_address_once(path: Path) -> None:
    mapping, problems = parse_mapping(path.read_text(encoding="utf-8"), path.name, CHECK)
    assert problems == ()
    assert mapping.settings.port
    assert {"strength", "guidance_scale", "mix", "detail", "panic", "blackout", "freeze"} <= {
        assignment.address for entries in mapping.controls.values() for assignment in entries
    }


def test_the_file_that_the_docs_show_is_valid() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "midi.md"
    [text] = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    mapping, problems = parse_mapping(text, "midi.md", CHECK)
    assert problems == ()
    assert mapping.controls[Control("cc", 0, 2)][0].range == (0, 8)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("nanoKONTROL2 SLIDER/KNOB", "nanoKONTROL2 SLIDER-KNOB"),
        ("../../etc/passwd", "etc-passwd"),
        ("CON", "CON-port"),
        ("\x00\n", "port"),
        ("é" * 200, "é" * 60),
    ],
)
def test_names_of_files_are_safe_whatever_a_port_calls_itself(title: str, name: str) -> None:
    assert safe_name(title) == name


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="there are no links here")
def test_a_linked_file_stays_a_link(store: MappingStore, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text(TEXT, encoding="utf-8")
    (tmp_path / "midi").mkdir()
    link = tmp_path / "midi" / "Pads.toml"
    link.symlink_to(real)
    stored = store.load("Pads")
    store.save("Pads", stored, stored.mapping.without("strength"))
    assert link.is_symlink()
    assert '"strength"' not in real.read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "midi").write_text("a file", encoding="utf-8")
    store = MappingStore(CHECK, lambda: tmp_path / "midi")
    stored = store.load("Pads")
    with pytest.raises(ConfigError, match=r"cannot write .*Pads\.toml"):
        store.save("Pads", stored, stored.mapping)
