"""Cue lists on air: files that are checked as a whole, GO, back, jump, and what goes by itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from streamcam.control.cue_list import CueList, load_cue_list
from streamcam.control.cue_player import CuePlayer
from streamcam.control.cues import read_cues
from streamcam.control.file_jobs import FileJobs
from streamcam.control.messages import Argument, Message
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.errors import ConfigError
from streamcam.settings.config_layers import build_config
from streamcam.settings.cue_settings import cue_list_file
from streamcam.settings.parameters import Parameters
from streamcam.sinks.cue_recorder import CueWriter

P = "/streamcam"
CONFIG = build_config([{"model": "nano"}])
THREE = """
[[cue]]
name = "doors"
prompt = "cat"
strength = 0.2

[[cue]]
name = "storm"
preset = "oil"
mix = 0.5

[[cue]]
name = "night"
prompt = "night"
blackout = true
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def bank() -> PresetBank:
    return PresetBank(CONFIG, print)


class Show:
    """A broadcast with a cue list."""

    def __init__(self, text: str, wall: Callable[[], datetime] = datetime.now) -> None:
        self.control = Control(CONFIG)
        self.surface = ControlSurface(self.control, CONFIG, print)
        self.wall = wall
        self.cues: CueList | None = None
        if text:
            Path("show.toml").write_text(text, encoding="utf-8")
            self.cues = load_cue_list(Path("show.toml"), CONFIG, self.surface.presets)

    @contextmanager
    def running(self) -> Iterator[None]:
        with FileJobs() as jobs, CuePlayer(self.surface, jobs, self.cues, wall=self.wall):
            yield

    def send(self, name: str, *arguments: Argument) -> str:
        """Send a message; return why it is refused, an empty text if it is not."""
        outcome = self.surface.apply([Message(f"{P}/{name}", arguments)], "a client")
        assert not outcome.unknown
        return outcome.refused[0][1] if outcome.refused else ""

    def value(self, name: str) -> tuple[Argument, ...]:
        value = self.surface.value_of(f"{P}/{name}")
        return value.arguments if value else ()

    @property
    def place(self) -> tuple[Argument, ...]:
        return (*self.value("cue/current"), *self.value("cue/next"))

    @property
    def target(self) -> Parameters:
        return self.control.target

    def wait_for(self, cue: str) -> None:
        """Wait until a cue has been played, by itself."""
        self.wait_until(lambda: self.value("cue/current") == (cue,))

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not is_so():
            assert time.monotonic() < end, self.place
            time.sleep(0.005)


def test_go_plays_one_cue_after_the_other() -> None:
    show = Show(THREE)
    with show.running():
        assert show.value("cue/names") == ("doors", "storm", "night")
        assert show.place == ("", "doors")
        assert show.send("cue/go") == ""
        assert (show.target.prompt, show.target.strength) == ((("cat", 1.0),), 0.2)
        assert show.place == ("doors", "storm")
        show.send("cue/go", 1)
        show.send("cue/go", 0)
        assert show.place == ("storm", "night")
        assert (show.target.strength, show.target.mix) == (0.45, 0.5)
        assert show.surface.presets.current == show.control.preset == "oil"
        show.send("cue/go", True)
        assert show.target.blackout
        assert show.place == ("night", "")
        assert "at its end; /streamcam/cue/jump 1" in show.send("cue/go")
        assert show.place == ("night", "")


@pytest.mark.parametrize("sent", [2, 2.0, "2", "storm", " storm "])
def test_a_jump_is_to_a_number_or_a_name(sent: Argument) -> None:
    show = Show(THREE)
    with show.running():
        assert show.send("cue/jump", sent) == ""
        assert show.place == ("storm", "night")


@pytest.mark.parametrize("sent", [0, 4, -1, 1.5, "strom", "", None, True, "../x", float("nan")])
def test_a_jump_to_nowhere_is_refused(sent: Argument) -> None:
    show = Show(THREE)
    with show.running():
        before = show.target
        assert show.send("cue/jump", sent).startswith("no cue ")
        assert "number of a cue" in show.send("cue/jump")
        assert (show.target, show.place) == (before, ("", "doors"))


def test_back_and_jump_give_the_look_that_the_cues_lead_to() -> None:
    show, looks = Show(THREE), []
    with show.running():
        for _ in range(3):
            show.send("cue/go")
            looks.append(show.target)
        show.send("cue/back")
        assert show.target == looks[1]
        assert show.surface.presets.current == "oil"
        show.send("cue/back")
        assert show.target == looks[0]
        assert "no cue before" in show.send("cue/back")
        for place in (2, 0, 1):
            show.send("cue/jump", place + 1)
            assert show.target == looks[place]


def test_a_cue_fades_by_its_easing_whatever_the_operator_has_set() -> None:
    now = [0.0]
    control = Control(CONFIG, clock=lambda: now[0])
    surface = ControlSurface(control, CONFIG, print)
    text = '[[cue]]\nname = "a"\nguidance_scale = 3.2\nfade = 4\neasing = "ease-in"'
    Path("show.toml").write_text(text)
    cues = load_cue_list(Path("show.toml"), CONFIG, surface.presets)
    start = control.parameters.guidance_scale
    with FileJobs() as jobs, CuePlayer(surface, jobs, cues):
        control.change({"preset_time": 60, "prompt_time": 60})
        surface.apply([Message(f"{P}/cue/go")], "a")
    now[0] = 2.0
    assert control.advance().guidance_scale == pytest.approx(start + (3.2 - start) / 4)
    now[0] = 4.0
    assert control.advance() is control.target


def test_a_cue_raises_a_counter_each_time_it_is_played() -> None:
    show = Show('[[cue]]\nname = "a"\nsnapshot = 1\n[[cue]]\nname = "b"\nseed = 4')
    with show.running():
        for count in (1, 2):
            show.send("cue/jump", "a")
            assert show.target.snapshot == count
        show.send("cue/jump", "b")
        assert show.target.snapshot == 2


def test_a_cue_follows_by_itself_and_is_recorded() -> None:
    show = Show(
        'loop = true\n[[cue]]\nname = "a"\nseed = 1\nfollow = 0.1\n[[cue]]\nname = "b"\nseed = 3'
    )
    frames: list[Parameters] = []
    writer = CueWriter(Path("show.cues.jsonl"))
    with show.running():
        writer.write(0, show.control.parameters)
        show.control.listen(lambda _before, after: frames.append(after))
        show.send("cue/go")
        show.wait_for("b")
        assert [frame.seed for frame in frames] == [1, 3]
        assert show.place == ("b", "a")
        show.send("cue/go")
        assert show.target.seed == 1
    for number, frame in enumerate(frames, start=1):
        writer.write(number, frame)
    writer.close()
    again = read_cues(Path("show.cues.jsonl"), CONFIG)
    parameters = CONFIG.live
    for number, frame in enumerate(frames, start=1):
        parameters = again(number, parameters)
        assert parameters == frame


@pytest.mark.parametrize("command", ["cue/go", "cue/back", "cue/jump"])
def test_the_operator_cancels_what_would_follow(command: str) -> None:
    show = Show(
        "".join(f'[[cue]]\nname = "{n}"\nseed = {i}\n' for i, n in enumerate("ab"))
        + '[[cue]]\nname = "c"\nseed = 7\nfollow = 0.1\n'
        + "".join(f'[[cue]]\nname = "{n}"\nmix = 0.{i}\n' for i, n in enumerate("de"))
        + '[[cue]]\nname = "end"\nprompt = "x"\nfollow = 0.1\n[[cue]]\nname = "last"\nseed = 99\n'
    )
    with show.running():
        show.send("cue/jump", "c")
        show.send(command, *(("d",) if command == "cue/jump" else ()))
        after = "b" if command == "cue/back" else "d"
        assert show.value("cue/current") == (after,)
        # Another cue follows in the same time: had the first one gone on, it would have by then.
        show.send("cue/jump", "end")
        show.wait_for("last")
        assert show.target.seed == 99


def test_a_cue_goes_at_its_time_of_day_and_a_missed_one_is_reported() -> None:
    wall = [datetime(2026, 11, 28, 23, 59, 59, 950_000)]
    show = Show(THREE + "at = 00:00:00\n", lambda: wall[0])
    with show.running():
        assert show.place == ("", "doors")
        wall[0] += timedelta(seconds=0.1)
        show.wait_for("night")
        assert (show.target.mix, show.target.blackout) == (0.5, True)
        wall[0] += timedelta(hours=23)  # The machine sleeps until the evening,
        show.send("cue/jump", 1)
        show.wait_until(lambda: show.place == ("doors", "storm"))
        wall[0] += timedelta(hours=2)  # and beyond midnight.
        show.send("cue/go")
        show.wait_until(lambda: show.value("cue/notice") != ("",))
        assert show.value("cue/notice") == ('the cue "night" was missed: its time was 00:00:00',)
        assert show.place == ("storm", "night")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has no cues"),
        ('[[cues]]\nname = "a"', "has no cues"),
        ("cue = 3", "list of tables"),
        ("cue = [", "not valid TOML"),
        ('fade = -1\n[[cue]]\nname = "a"\nseed = 1', "got -1 (show.toml, line 1)"),
        ("[[cue]]\nseed = 1", "no name"),
        ('[[cue]]\nname = ""\nseed = 1', "show.toml, line 2"),
        ('[[cue]]\nname = "12"\nseed = 1', "more than a number"),
        ('[[cue]]\nname = "a"', "changes nothing"),
        ('[[cue]]\nname = "a"\nsede = 1', 'did you mean "seed"? (show.toml, line 3)'),
        ('[[cue]]\nname = "a"\nmodel = "x"', '"model" is fixed at start'),
        ('[[cue]]\nname = "a"\n\nmix = 7', "got 7 (show.toml, line 4)"),
        (
            '[[cue]]\nname = "a"\nseed = 1\n\n[[cue]]\nname = "A"\nseed = 1',
            "line 1; show.toml, line 5",
        ),
        ('[[cue]]\nname = "a"\npreset = "oli"', 'did you mean "oil"? (show.toml, line 1)'),
        ('[[cue]]\nname = "a"\npreset = "sd-turbo-fast"', "for another model"),
        ('[[cue]]\nname = "a"\nt_index_list = [1, 2, 3, 4]', "steps is fixed at start"),
        ('[[cue]]\nname = "a"\nseed = 1\nfollow = 3', "nothing can follow it"),
        ('[[cue]]\nname = "a"\nseed = 1\nfollow = 0', "show.toml, line 4"),
        ('[[cue]]\nname = "a"\nseed = 1\nat = "25:00"', "must be a time of day"),
        ('[[cue]]\nname = "a"\nseed = 1\nat = 2026-11-28T20:00:00', "must be a time of day"),
        ('[[cue]]\nname = "a"\nseed = 1\neasing = "bounce"', "show.toml, line 4"),
        ('cue = [{name = "a", seed = 1}, {name = "b", mix = 2}]', "show.toml, cue 2"),
    ],
)
def test_a_wrong_list_is_refused_with_file_and_line(
    bank: PresetBank, text: str, complaint: str
) -> None:
    Path("show.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_cue_list(Path("show.toml"), CONFIG, bank)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value) or "TOML" in complaint


def test_a_recording_is_told_from_a_cue_list(bank: PresetBank) -> None:
    with pytest.raises(ConfigError, match="render --cues"):
        load_cue_list(Path("show.cues.jsonl"), CONFIG, bank)
    with pytest.raises(ConfigError, match=r"cannot read gone\.toml"):
        load_cue_list(Path("gone.toml"), CONFIG, bank)


def test_the_shipped_list_is_found_by_name_and_plays(bank: PresetBank) -> None:
    cues = load_cue_list(cue_list_file("nano-show"), CONFIG, bank)
    assert cues.names[:2] == ("doors", "sketch")
    with pytest.raises(ConfigError, match='did you mean "nano-show"'):
        cue_list_file("nano-shwo")


def test_a_list_is_taken_by_its_name_on_air(home: Path) -> None:
    folder = home / "streamcam" / "cues"
    folder.mkdir(parents=True)
    (folder / "gala.toml").write_text('[[cue]]\nname = "one"\nseed = 8', encoding="utf-8")
    (folder / "broken.toml").write_text("[[cue]]", encoding="utf-8")
    show = Show("")
    with show.running():
        assert "there is no cue list" in show.send("cue/go")
        assert "there is no cue list" in show.send("cue/jump", 1)
        assert show.place == ("", "")
        assert set(show.value("cue/lists")) == {"broken", "gala", "nano-show"}
        assert show.send("cue/load", "gala") == ""
        assert show.send("cue/load", "broken") == ""
        for path in ("../cues/gala", "gala.toml", "/etc/passwd"):
            assert "is no name for a cue list" in show.send("cue/load", path)
    assert "no name" in str(show.value("cue/notice")[0])
    assert (show.value("cue/load"), show.place) == (("gala",), ("", "one"))
    assert show.send("cue/go") == ""
    assert show.target.seed == 8


def test_a_list_that_is_edited_and_loaded_again_goes_on_where_it_was(home: Path) -> None:
    file = home / "streamcam" / "cues" / "gala.toml"
    file.parent.mkdir(parents=True)
    cues = [f'[[cue]]\nname = "{name}"\nseed = {n}\n' for n, name in enumerate("abc")]
    show = Show("")
    with show.running():
        file.write_text("".join(cues), encoding="utf-8")
        show.send("cue/load", "gala")
        show.wait_until(lambda: len(show.value("cue/names")) == 3)
        show.send("cue/jump", "b")
        added = '[[cue]]\nname = "new"\nseed = 9\n'
        file.write_text("".join([added, *cues[:2], added.replace("new", "c2"), cues[2]]))
        show.send("cue/load", "gala")
        show.wait_until(lambda: len(show.value("cue/names")) == 5)
    assert show.place == ("b", "c2")


def test_a_cue_whose_preset_has_gone_is_refused_and_stays_the_next(home: Path) -> None:
    folder = home / "streamcam" / "presets"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('prompt = "x"', encoding="utf-8")
    show = Show('[[cue]]\nname = "a"\nseed = 5\n[[cue]]\nname = "b"\npreset = "mine"')
    (folder / "mine.toml").unlink()
    show.surface.presets.reload()
    with show.running():
        show.send("cue/go")
        assert 'the cue "b" cannot be played: no preset "mine"' in show.send("cue/go")
        assert show.place == ("a", "b")
        assert show.send("cue/jump", "a") == ""


def test_values_of_the_list_are_only_read() -> None:
    show = Show(THREE)
    with show.running():
        for name in ("current", "next", "names", "lists", "notice"):
            assert "only read" in show.send(f"cue/{name}", "x")
    assert "start streamcam run" in Show(THREE).send("cue/go")
