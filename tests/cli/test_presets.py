"""``streamcam presets``: the user's presets, with a broadcast and without one."""

from pathlib import Path

import click
import pytest

from streamcam import cli
from streamcam.cli.presets_command import presets
from streamcam.embedded_model import LOOKS
from streamcam.settings.presets import load_preset
from tests.control.osc.running_server import running_server
from training import looks


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "streamcam" / "presets"


@pytest.fixture
def nobody() -> str:
    with running_server() as running:
        return f"--port={running.server.port}"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    group = click.Group(commands={"presets": presets})
    code = cli._run(lambda **options: group.main(["presets", *arguments], **options))
    return (code, *capsys.readouterr())


def test_the_list_has_a_line_on_each_and_the_looks_of_nano(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    home.mkdir(parents=True)
    (home / "broken.toml").write_text("prompt = ")
    code, out, _ = run(capsys)
    assert code == 0
    lines = dict(line.strip().split(None, 1) for line in out.splitlines() if line[0] == " ")
    assert lines["oil"] == "oil painting, thick brush strokes"
    assert lines["sd-turbo-fast"] == "SD-Turbo, one step: the lowest latency"
    assert lines["sdxl-lightning-1step"].endswith("leaves nothing of the camera")
    assert "is not valid TOML" in lines["broken"]
    assert "night vision" in out
    assert set(LOOKS) == set(looks.LOOKS) - {looks.PLAIN}


def test_settings_are_saved_shown_found_and_deleted(
    capsys: pytest.CaptureFixture[str], home: Path, nobody: str
) -> None:
    words = ("--prompt", 'a "cat"', "--strength", "0.6", "--width", "256", nobody)
    code, out, _ = run(capsys, "save", "my look", *words)
    path = home / "my look.toml"
    assert (code, out) == (0, f'saved "my look" as {path}\n')
    assert load_preset("my look") == {"width": 256, "prompt": 'a "cat"', "strength": 0.6}
    assert run(capsys, "show", "my look")[1].startswith(f"# {path}\nwidth = 256\n")
    assert run(capsys, "where", "my look")[1] == f"{path}\n"
    code, _, err = run(capsys, "save", "my look", "--prompt", "x")
    assert code == 2
    assert "--overwrite" in err
    assert run(capsys, "save", "my look", "--prompt", "x", "--overwrite", nobody)[0] == 0
    assert load_preset("my look") == {"prompt": "x"}
    assert run(capsys, "delete", "my look")[0] == 0
    code, _, err = run(capsys, "delete", "my look")
    assert (code, 'you have no preset "my look"' in err) == (2, True)
    assert list(home.iterdir()) == []


def test_a_preset_is_renamed_and_never_over_another(
    capsys: pytest.CaptureFixture[str], home: Path, nobody: str
) -> None:
    for name in ("a", "b"):
        assert run(capsys, "save", name, "--prompt", name, nobody)[0] == 0
    code, _, err = run(capsys, "rename", "a", "b")
    assert (code, 'there is a preset "b" already' in err) == (2, True)
    assert run(capsys, "rename", "a", "c") == (0, f'renamed "a" to "c", {home / "c.toml"}\n', "")
    assert load_preset("c") == {"prompt": "a"}
    assert sorted(path.name for path in home.iterdir()) == ["b.toml", "c.toml"]


def test_the_look_on_air_is_saved_and_the_broadcast_finds_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running_server(
        prompt=[["cat", 3], ["dog", 1]], t_index_list=[32, 45], seed=7, mirror=True
    ) as running:
        port = f"--port={running.server.port}"
        assert run(capsys, "save", "mine", port)[0] == 0
        saved = load_preset("mine")
        assert saved["prompt"] == [["cat", 3.0], ["dog", 1.0]]
        assert (saved["t_index_list"], saved["seed"]) == ([32, 45], 7)
        assert not {"mirror", "panic", "reset"} & set(saved)
        before = running.control.target
        running.control.change({"prompt": "bird", "guidance_scale": 4.0, "seed": 1})
        assert run(capsys, "load", "mine", port) == (0, "preset: mine\n", "")
        now = running.control.target
        assert {n: v for n, v in now if v != getattr(before, n)} == {}
        code, _, err = run(capsys, "load", "mein", port)
        assert (code, 'did you mean "mine"' in err) == (2, True)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", " ", ".x", "x.toml", "NUL", "a/b", "oil"])
@pytest.mark.parametrize("command", ["save", "delete"])
def test_no_name_leads_out_of_the_folder_or_to_a_shipped_preset(
    capsys: pytest.CaptureFixture[str], home: Path, name: str, command: str
) -> None:
    words = ["--prompt", "a"] if command == "save" else []
    code, out, err = run(capsys, command, *words, "--", name)
    assert (code, out) == (2, "")
    assert "no name for a preset" in err or "comes with streamcam" in err
    assert not home.exists()


def test_nothing_is_saved_without_a_broadcast_or_settings(
    capsys: pytest.CaptureFixture[str], home: Path, nobody: str
) -> None:
    code, _, err = run(capsys, "save", "mine", nobody)
    assert (code, 'start one with "streamcam run"' in err) == (1, True)
    assert not home.exists()


def test_a_folder_that_cannot_be_made_is_named(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.parent.write_text("a file where the folder should be")
    status, _, problem = run(capsys, "save", "mine", "--prompt", "oil")
    assert status == 2
    assert problem.startswith("streamcam: cannot write ")
    assert problem.count("\n") == 1
