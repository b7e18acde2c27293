"""``streamcam cues``: cue lists without a broadcast."""

from pathlib import Path

import click
import pytest

from streamcam import cli
from streamcam.cli.cues_command import cues


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "streamcam" / "cues"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    group = click.Group(commands={"cues": cues})
    code = cli._run(lambda **options: group.main(["cues", *arguments], **options))
    return (code, *capsys.readouterr())


def test_lists_are_checked_with_the_settings_of_the_show(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    home.mkdir(parents=True)
    (home / "steps.toml").write_text('[[cue]]\nname = "a"\nt_index_list = [10, 20, 30]')
    code, out, err = run(capsys, "check", "nano-show", "steps")
    assert (code, "1 of 2 are wrong" in err) == (2, True)
    first, second = out.splitlines()
    assert first == "nano-show: 6 cues, ok"
    assert second.startswith("steps: ")
    assert second.endswith(f"({home / 'steps.toml'}, line 1)")
    assert run(capsys, "check", "steps", "--set", "steps=3") == (0, "steps: 1 cues, ok\n", "")


def test_a_list_is_shown_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "nano-show")
    lines = out.splitlines()
    assert (code, lines[0].split()) == (0, ["cue", "fade", "follow", "at", "what"])
    assert lines[3].split() == [
        "3",
        "first",
        "colours",
        "2",
        "s",
        "12",
        "s",
        "preset",
        "watercolour",
    ]
    assert lines[6].endswith("blackout True")


def test_the_lists_and_the_folder_of_yours_are_listed(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    code, out, _ = run(capsys)
    assert code == 0
    assert out.splitlines()[0].startswith("nano-show  ")
    assert out.splitlines()[-1] == f"yours are in {home}"
