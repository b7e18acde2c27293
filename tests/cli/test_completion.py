"""Shell completion of the ``streamcam`` command, as the docs set it up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.media import run_script

needs_bash = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="needs bash"
)

COMPLETE = """
eval "$(_STREAMCAM_COMPLETE=bash_source streamcam)"
complete -p streamcam
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_streamcam_completion streamcam
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(folder: Path, *words: str) -> list[str]:
    """Return the completions that bash offers for the last of `words`."""
    program = folder / "streamcam"
    program.write_text(f"#!{sys.executable}\nfrom streamcam.cli import main\nmain()\n")
    program.chmod(0o755)
    result = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", "streamcam", *words],
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
    ("words", "expected"),
    [
        (("re",), ["render"]),
        (("models", ""), ["list", "path", "pull"]),
        (("run", "--so"), ["--source"]),
        (("service", "install", "--h"), ["--help"]),
        (("--v",), ["--version"]),
    ],
)
def test_bash_completes_commands_and_options(
    tmp_path: Path, words: tuple[str, ...], expected: list[str]
) -> None:
    assert complete(tmp_path, *words) == expected


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
