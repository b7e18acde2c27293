"""Shell completion of the ``streamcam`` command, as the docs set it up."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcam.cli import COMPLETION, shell_scripts, streamcam
from streamcam.errors import ConfigError, StreamcamError
from streamcam.sources import camera_list
from streamcam.sources.camera_list import CameraInfo
from streamcam.system.paths import presets_folder
from tests.support.media import run_script

needs_bash = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="needs bash"
)

COMPLETE = """
source "$1"
complete -p streamcam
COMP_LINE=$2
COMP_POINT=${#2}
_streamcam_completion streamcam
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(folder: Path, line: str) -> list[str]:
    """Return the completions that bash offers at the end of `line`."""
    program, script = folder / "streamcam", folder / "script"
    program.write_text(f"#!{sys.executable}\nfrom streamcam.cli import main\nmain()\n")
    program.chmod(0o755)
    script.write_text(shell_scripts.script("bash"))
    result = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", script, line],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
    )
    setup, *completions = result.stdout.splitlines()
    assert setup.endswith("_streamcam_completion streamcam")
    return completions


@needs_bash
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("streamcam re", ["render"]),
        ("streamcam run --so", ["--source"]),
        ("streamcam service install --h", ["--help"]),
        ("streamcam prompt pix", ["pixel\\ art"]),
    ],
)
def test_bash_completes_commands_options_and_values(
    tmp_path: Path, line: str, expected: list[str]
) -> None:
    assert complete(tmp_path, line) == expected


@pytest.fixture
def offered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], list[tuple[str, str]]]:
    """Return a function that gives the (type, value) offered to bash at the end of a line."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub" / "models--demo--tiny" / "snapshots").mkdir(parents=True)
    cameras = (
        CameraInfo("USB Camera", "/dev/video0", "/dev/video0"),
        CameraInfo("streamcam", "/dev/video10", "/dev/video10", virtual=True),
    )
    monkeypatch.setattr(camera_list, "cameras", lambda: cameras)

    def complete_line(line: str) -> list[tuple[str, str]]:
        monkeypatch.setenv("STREAMCAM_LINE", line)
        bash = shell_scripts.Bash(streamcam, {}, "streamcam", COMPLETION)
        pairs = (item.partition(",") for item in bash.complete().splitlines())
        return [(kind, value) for kind, _, value in pairs]

    return complete_line


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("run --config wat", ["watercolour"]),
        ("config show sdxl-tu", ["sdxl-turbo"]),
        ("presets load dou", []),
        ("presets load duo", ["duotone"]),
        ("run --source ca", ["camera", "camera:/dev/video0"]),
        ("run --source camera:", ["/dev/video0"]),
        ("run --source=camera:/dev/v", ["/dev/video0"]),
        ("run --source d", ["demo"]),
        ("run --sink v", ["virtual-camera", "virtual-camera:streamcam"]),
        ("run --sink rec", ["recorder:"]),
        ("run --model na", ["nano"]),
        ("run --model sd1", ["sd15", "sd1.5"]),
        ("run --model de", ["demo/tiny"]),
        ("run --device c", ["cpu", "cuda", "cuda:0", "cuda:1"]),
        ("run --dtype bf", ["bfloat16"]),
        ("run --dtype fp", ["fp32", "fp16", "fp8"]),
        ("run --source we", ["webcam"]),
        ("run --sink ob", ["obs"]),
        ("run --rotate=1", ["180"]),
        ("run --prompt wa", ["watercolour"]),
        ('prompt "pix', ["pixel art"]),
        ("run --set prompt_ti", ["prompt_time="]),
        ("run --set canvas_fit=f", ["fill", "fit"]),
        ("run --set=mirror=t", ["true"]),
        ("run --set model=nan", ["nano"]),
        ("run --set nonsense=", []),
        ("osc send guidance_scale/", ["guidance_scale/norm"]),
        ("osc get /streamcam/panic", ["/streamcam/panic"]),
        ("completion install z", ["zsh"]),
        ('run --prompt "unclosed', []),
    ],
)
def test_values_are_offered(
    offered: Callable[[str], list[tuple[str, str]]], line: str, values: list[str]
) -> None:
    assert [v for kind, v in offered(f"streamcam {line}") if kind == "plain"] == values


@pytest.mark.parametrize("option", ["--config", "--source", "--model", "--lora", "--vae"])
def test_where_a_file_may_stand_the_shell_lists_files(
    offered: Callable[[str], list[tuple[str, str]]], option: str
) -> None:
    assert "file" in dict(offered(f"streamcam run {option} xyzzy"))


def test_a_preset_of_ones_own_is_offered_with_its_spaces_escaped(
    offered: Callable[[str], list[tuple[str, str]]],
) -> None:
    folder = presets_folder()
    folder.mkdir(parents=True)
    (folder / "my look.toml").write_text('prompt = "oil"\n')
    assert offered("streamcam run --config my") == [("plain", "my\\ look"), ("file", "my")]
    assert offered("streamcam presets delete ") == [("plain", "my\\ look")]


def test_whatever_fails_offers_nothing_and_prints_nothing(
    monkeypatch: pytest.MonkeyPatch,
    offered: Callable[[str], list[tuple[str, str]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def unreadable() -> tuple[CameraInfo, ...]:
        raise PermissionError("no cameras for you")

    monkeypatch.setattr(camera_list, "cameras", unreadable)
    assert offered("streamcam run --source ca") == []
    assert capsys.readouterr() == ("", "")


def run_completion(*words: str) -> None:
    streamcam.main(["completion", *words], standalone_mode=False)


@pytest.mark.parametrize(
    ("shell", "path", "mark"),
    [
        ("bash", ".local/share/bash-completion/completions/streamcam", "complete -o nosort"),
        ("zsh", ".local/share/zsh/site-functions/_streamcam", "#compdef streamcam"),
        ("fish", ".config/fish/completions/streamcam.fish", "--command streamcam"),
    ],
)
def test_install_writes_the_script_where_the_shell_looks_and_remove_deletes_it(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shell: str,
    path: str,
    mark: str,
) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    run_completion("install")
    run_completion("install", shell)
    said = capsys.readouterr().out
    assert f"wrote {tmp_path / path}\n" in said
    assert "\\u" not in said
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / path]
    text = (tmp_path / path).read_text()
    assert mark in text
    run_completion("show", shell)
    assert capsys.readouterr().out == text
    run_completion("remove")
    assert not (tmp_path / path).exists()
    with pytest.raises(StreamcamError, match="is installed: no "):
        run_completion("remove")


def test_an_unknown_shell_is_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    with pytest.raises(ConfigError, match="bash, zsh, fish: tcsh is none of them"):
        run_completion("install")


def test_what_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fish").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(StreamcamError, match=r"cannot write .*streamcam\.fish"):
        run_completion("install", "fish")


COMPLETION_PROCESS = """
    from streamcam.cli import main
    sys.argv = ["streamcam"]
    try:
        main()
    except SystemExit:
        heavy = {"torch", "diffusers", "transformers", "streamcam.cli.run"}
        print(sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("words", "index", "completion", "imported"),
    [
        ("streamcam ", "1", "plain,service", "[]"),
        ("streamcam run --so", "2", "plain,--source", "['streamcam.cli.run']"),
        ("streamcam bench ", "2", "plain,engines", "[]"),
        ("streamcam render in", "2", "file,in", "[]"),
        ("streamcam run --model nan", "3", "plain,nano", "['streamcam.cli.run']"),
        ("streamcam run --config neo", "3", "plain,neon", "['streamcam.cli.run']"),
    ],
)
def test_completion_imports_neither_torch_nor_other_commands(
    monkeypatch: pytest.MonkeyPatch, words: str, index: str, completion: str, imported: str
) -> None:
    monkeypatch.setenv("_STREAMCAM_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", index)
    lines = run_script(COMPLETION_PROCESS, "").splitlines()
    assert completion in lines
    assert lines[-1] == imported
