"""Presets that are saved, renamed and deleted on air, with real files."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from streamcam.control import preset_editor, preset_files
from streamcam.control.file_jobs import FileJobs
from streamcam.control.messages import Argument, Message
from streamcam.control.preset_editor import PresetEditor
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import load_preset

P = "/streamcam"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "streamcam" / "presets"


class OnAir:
    """A surface that presets are saved by."""

    def __init__(self, **settings: object) -> None:
        config = build_config([{"model": "nano"} | settings])
        self.control = Control(config)
        self.surface = ControlSurface(self.control, config, print)

    def send(self, name: str, *arguments: Argument) -> str:
        """Send a message; return why it is refused, an empty text if it is not."""
        outcome = self.surface.apply([Message(f"{P}/{name}", arguments)], "a client")
        assert not outcome.unknown
        return outcome.refused[0][1] if outcome.refused else ""

    def do(self, name: str, *arguments: Argument) -> str:
        """Send a message to the editor, wait until it is done, and return the notice."""
        with self.files():
            assert self.send(name, *arguments) == ""
        return self.notice

    @contextmanager
    def files(self) -> Iterator[None]:
        """Bind the commands, and wait at the end until all of them are done."""
        with FileJobs() as jobs:
            PresetEditor(self.surface, jobs).bind()
            yield

    @property
    def notice(self) -> str:
        value = self.surface.value_of(f"{P}/preset/notice")
        return str(value.arguments[0]) if value else ""

    @property
    def names(self) -> tuple[Argument, ...]:
        value = self.surface.value_of(f"{P}/preset/names")
        assert value
        return value.arguments


@pytest.fixture
def on_air() -> Iterator[OnAir]:
    return OnAir()


def test_what_is_set_is_saved_and_comes_back(
    on_air: OnAir, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    look = {
        "prompt": [["cat", 3], ["dog", 1]],
        "negative_prompt": "blurry",
        "strength": 0.35,
        "seed": 7,
        "detail": 0.5,
    }
    on_air.control.change({**look, "mirror": True, "blackout": True})
    saved = on_air.control.target
    notice = on_air.do("preset/save", "my", "look")
    assert notice == f'saved the preset "my look" as {folder / "my look.toml"}'
    assert notice in caplog.text
    assert on_air.control.notice == notice
    kept = load_preset("my look")
    assert kept == {
        "prompt": [["cat", 3.0], ["dog", 1.0]],
        "negative_prompt": "blurry",
        "strength": 0.35,
        "prompt_interpolation": "linear",
        "seed": 7,
        "detail": 0.5,
    }
    assert "my look" in on_air.names
    assert on_air.surface.value_of(f"{P}/preset/load") == (f"{P}/preset/load", ("my look",))
    on_air.send("preset/load", "oil")
    on_air.control.change({"seed": 1, "detail": 1.0})
    assert on_air.send("preset/load", "my look") == ""
    assert on_air.control.target == saved


def test_a_look_like_the_model_s_own_keeps_none_of_its_numbers(on_air: OnAir) -> None:
    on_air.control.change({"prompt": "neon"})
    on_air.do("preset/save", "plain")
    assert load_preset("plain") == {"prompt": "neon", "prompt_interpolation": "linear", "seed": 2}


def test_a_value_that_the_broadcast_began_with_is_kept_in_the_look(on_air: OnAir) -> None:
    on_air = OnAir(detail=0.3)
    on_air.do("preset/save", "fine")
    assert load_preset("fine")["detail"] == 0.3
    on_air.control.change({"detail": 1.0})
    on_air.do("preset/save", "full")
    assert load_preset("full")["detail"] == 1.0


def test_saving_again_replaces_it_and_keeps_the_one_before(on_air: OnAir, folder: Path) -> None:
    for prompt in ("one", "two", "three"):
        on_air.control.change({"prompt": prompt})
        on_air.do("preset/save", "scratch")
    assert load_preset("scratch")["prompt"] == "three"
    assert 'prompt = "two"' in (folder / "scratch.toml~").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["scratch.toml", "scratch.toml~"]
    assert "scratch.toml" not in on_air.names


def test_a_preset_is_renamed_and_deleted(on_air: OnAir, folder: Path) -> None:
    on_air.do("preset/save", "rough")
    assert "renamed" in on_air.do("preset/rename", "rough", "charcoal 2")
    assert {"rough", "charcoal 2"} & set(on_air.names) == {"charcoal 2"}
    assert on_air.surface.presets.current == on_air.control.preset == "charcoal 2"
    assert "deleted" in on_air.do("preset/delete", "charcoal 2")
    assert "charcoal 2" not in on_air.names
    assert on_air.surface.value_of(f"{P}/preset/load") is None
    assert list(folder.iterdir()) == []
    assert 'you have no preset "charcoal 2"' in on_air.do("preset/delete", "charcoal 2")


def test_renaming_never_replaces_another(on_air: OnAir) -> None:
    for name in ("a", "b"):
        on_air.control.change({"prompt": name})
        on_air.do("preset/save", name)
    assert 'there is a preset "b" already' in on_air.do("preset/rename", "a", "b")
    assert (load_preset("a")["prompt"], load_preset("b")["prompt"]) == ("a", "b")
    with on_air.files():
        assert "takes two names" in on_air.send("preset/rename", "a")


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", "../x", "/etc/x", "a/b", "a\\b", ".hidden", "x.toml", "a\0b", "a\nb"),
        *("NUL", "com1", "COM\N{SUPERSCRIPT ONE}", "-x", "a:b", "\u202ex", "~", "x" * 61, "*"),
    ],
)
def test_no_name_leads_out_of_the_folder(on_air: OnAir, folder: Path, name: str) -> None:
    with on_air.files():
        assert "is no name for a preset" in on_air.send("preset/save", name)
        assert "is no name for a preset" in on_air.send("preset/rename", "a", name)
        assert on_air.send("preset/delete", name) == ""
    assert "is no name for a preset" in on_air.notice
    assert not folder.exists()


@pytest.mark.parametrize("name", ["Ночь", "夜 1", "काली रात", "Cafe\u0301", "_x-1", "語" * 60])
def test_names_have_letters_of_any_script(on_air: OnAir, name: str) -> None:
    notice = on_air.do("preset/save", name)
    assert notice.startswith("saved"), notice
    assert on_air.send("preset/load", name) == ""
    assert "deleted" in on_air.do("preset/delete", name)


@pytest.mark.parametrize("name", ["oil", "OIL", "here"])
def test_shipped_presets_and_those_in_the_working_folder_stay(
    tmp_path: Path, folder: Path, name: str
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "here.toml").write_text('prompt = "x"')
    on_air = OnAir()
    with on_air.files():
        for message in (
            ("save", name),
            ("delete", name),
            ("rename", name, "b"),
            ("rename", "b", name),
        ):
            refused = on_air.send(f"preset/{message[0]}", *message[1:])
            assert "comes with streamcam" in refused or "is in ./configs" in refused
            own = message[0] == "delete" or (message[1] == name and message[0] == "rename")
            assert ("only your own" if own else "choose another name") in refused
    assert not folder.exists()
    assert load_preset("here") == {"prompt": "x"}


def test_an_own_preset_that_has_the_name_of_a_shipped_one_can_be_renamed(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "oil.toml").write_text('prompt = "mine"', encoding="utf-8")
    on_air = OnAir()
    assert "renamed" in on_air.do("preset/rename", "oil", "my oil")
    assert load_preset("my oil") == {"prompt": "mine"}
    assert load_preset("oil")["strength"] == 0.45


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is refused to root")
def test_a_folder_that_cannot_be_written_is_reported_with_the_remedy_as_a_user(
    on_air: OnAir, folder: Path
) -> None:
    folder.parent.mkdir(parents=True)
    folder.parent.chmod(0o500)
    notice = on_air.do("preset/save", "x")
    folder.parent.chmod(0o700)
    assert "choose a place you may write to" in notice


def test_a_folder_that_cannot_be_made_is_reported(on_air: OnAir, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("no folder")
    notice = on_air.do("preset/save", "x")
    assert notice.startswith(f"cannot write {folder / 'x.toml'}: ")
    assert on_air.control.notice == notice


def test_a_full_disk_leaves_the_preset_before_and_no_pieces(
    on_air: OnAir, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_air.do("preset/save", "x")
    before = (folder / "x.toml").read_bytes()
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    on_air.control.change({"prompt": "another"})
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        notice = on_air.do("preset/save", "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "choose another place" in notice
    assert [path.name for path in folder.iterdir()] == ["x.toml"]
    assert (folder / "x.toml").read_bytes() == before


def test_nobody_waits_for_a_slow_disk(on_air: OnAir, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = Event()

    def slow(*arguments: object, **options: object) -> Path:
        assert goes_on.wait(10)
        return preset_files.save_preset(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(preset_editor, "save_preset", slow)
    with on_air.files():
        refused = [on_air.send("preset/save", "x") for _ in range(40)]
        assert on_air.send("guidance_scale", 3.0) == ""
        assert on_air.control.target.guidance_scale == 3.0
        goes_on.set()
    assert refused[0] == ""
    assert "too slow" in refused[-1]
    assert on_air.notice.startswith("saved")
    assert load_preset("x")["seed"] == 2


def test_senders_of_nonsense_do_not_fill_the_disk(
    on_air: OnAir, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preset_files, "MAX_PRESETS", 2)
    for name in ("a", "b"):
        on_air.do("preset/save", name)
    assert "delete some first" in on_air.do("preset/save", "c")
    assert on_air.do("preset/save", "b").startswith("saved")
    assert {path.name for path in folder.glob("*.toml")} == {"a.toml", "b.toml"}


def test_without_a_broadcast_presets_cannot_be_saved(on_air: OnAir) -> None:
    assert "start streamcam run" in on_air.send("preset/save", "x")
    with on_air.files():
        assert "only read" in on_air.send("preset/notice", "x")


def test_a_preset_morphs_with_the_easing_that_is_set() -> None:
    now = [0.0]
    config = build_config([{"preset_time": 2, "strength": 0.25, "model": "nano"}])
    control = Control(config, clock=lambda: now[0])
    surface = ControlSurface(control, config, print)
    surface.apply([Message(f"{P}/preset/easing", ("ease-in",))], "a")
    surface.apply([Message(f"{P}/preset/load", ("oil",))], "a")
    now[0] = 1.0
    assert control.advance().strength == pytest.approx(0.25 + 0.25 * 0.2)
    now[0] = 2.0
    assert control.advance() == control.target


def test_a_bundle_saves_what_stands_before_the_saving(on_air: OnAir) -> None:
    with on_air.files():
        messages = [("prompt", "before"), ("preset/save", "x"), ("prompt", "after"), ("seed", 5)]
        outcome = on_air.surface.apply([Message(f"{P}/{n}", (v,)) for n, v in messages], "a")
    assert len(outcome.applied) == 4
    assert (load_preset("x")["prompt"], load_preset("x")["seed"]) == ("before", 2)
    assert (on_air.control.target.prompt, on_air.control.target.seed) == ((("after", 1.0),), 5)


def test_presets_hold_no_counters_and_nothing_of_the_room(on_air: OnAir) -> None:
    names = set(preset_files.look_of(Parameters()))
    assert not names & {"reset", "snapshot", "panic", "blackout", "mirror", "record", "preset_time"}
