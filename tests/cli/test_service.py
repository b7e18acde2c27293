import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamcam.cli.service import UNIT, quoted, service, unit, unit_path
from streamcam.errors import StreamcamError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")

SYSTEMCTL = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in
  *is-active*) cat "$CALLS.active" 2>/dev/null || { echo inactive; exit 3; } ;;
  *is-enabled*) echo enabled ;;
esac
if [ -e "$CALLS.fails" ]; then echo "Failed to connect to bus" >&2; exit 1; fi
"""
JOURNALCTL = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
echo '{"message": "on air"}'
"""


@dataclass
class Home:
    """A user's home folder, with a fake systemctl that records its calls."""

    path: Path
    config: Path

    @property
    def unit(self) -> Path:
        return self.config / "systemd" / "user" / UNIT

    def calls(self) -> list[str]:
        file = self.path / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {
            "PATH": str(self.path / "bin") + ":/usr/bin:/bin",
            "HOME": str(self.path),
            "CALLS": str(self.path / "calls"),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        return subprocess.run(
            [sys.executable, "-m", "streamcam", "service", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.path,
            env=environment | {"XDG_CONFIG_HOME": str(self.config)} | variables,
        )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, content in {"systemctl": SYSTEMCTL, "journalctl": JOURNALCTL}.items():
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    return Home(tmp_path, tmp_path / "configuration")


def command(file: Path) -> str:
    (line,) = [line for line in file.read_text().splitlines() if line.startswith("ExecStart=")]
    return line.removeprefix("ExecStart=")


def test_install_writes_the_unit_and_starts_it(home: Home) -> None:
    done = home.run("install", "--", "--sink", "null", "--fps", "25")
    assert done.returncode == 0, done.stderr
    assert f"wrote {home.unit}" in done.stdout
    expected = [sys.executable, "-P", "-m", "streamcam", "run", "--log-json"]
    assert shlex.split(command(home.unit)) == [*expected, "--sink", "null", "--fps", "25"]
    assert home.calls()[-2:] == [
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {UNIT}",
    ]


def test_the_unit_restarts_after_a_failure_but_not_with_an_invalid_setting(home: Home) -> None:
    home.run("install")
    lines = home.unit.read_text().splitlines()
    assert {"Restart=on-failure", "RestartSec=2", "RestartPreventExitStatus=2"} <= set(lines)
    assert f"WorkingDirectory={home.path}" in lines
    assert {"TimeoutStopSec=15", "WantedBy=default.target"} <= set(lines)


def test_a_running_service_is_restarted_with_the_new_options(home: Home) -> None:
    (home.path / "calls.active").write_text("active\n")
    assert home.run("install", "--", "--fps", "24").returncode == 0
    assert home.calls()[-1] == f"systemctl --user restart {UNIT}"
    assert "24" in command(home.unit)


def test_without_xdg_config_home_the_unit_is_in_the_home_folder(home: Home) -> None:
    for value in ("", "relative"):
        home.run("install", XDG_CONFIG_HOME=value)
        file = home.path / ".config" / "systemd" / "user" / UNIT
        assert file.exists()
        file.unlink()


def test_nobody_else_can_read_the_unit_since_a_url_may_hold_a_password(home: Home) -> None:
    home.run("install")
    assert home.unit.stat().st_mode & 0o077 == 0


def test_the_unit_sets_the_folder_of_the_models(home: Home) -> None:
    home.run("install", HF_HOME="/big disk/50%")
    assert 'Environment="HF_HOME=/big disk/50%%"' in home.unit.read_text().splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fsp", "25"], 'no option "--fsp"'),
        (["--fps", "0"], "fps"),
        (["--set", "osc_prot=1"], 'did you mean "osc_port"?'),
    ],
)
def test_invalid_options_are_refused_before_anything_is_written(
    home: Home, arguments: list[str], message: str
) -> None:
    done = home.run("install", "--", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not home.unit.exists()
    assert home.calls() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nanoo"], 'did you mean "nano"'),
        (["--lora", "no.safetensors"], "no model"),
        (["--cue-list", "nano-shwo"], 'did you mean "nano-show"'),
    ],
)
def test_a_model_or_cue_list_that_is_not_there_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    done = CliRunner().invoke(service, ["install", "--", *arguments])
    assert message in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_without_systemctl_the_unit_is_written_and_the_commands_are_shown(home: Home) -> None:
    (home.path / "empty").mkdir()
    done = home.run("install", PATH=str(home.path / "empty"))
    assert done.returncode == 1
    assert f"wrote {home.unit}, but this machine has no systemctl" in done.stderr
    assert f"systemctl --user enable --now {UNIT}" in done.stderr
    assert home.unit.exists()


def test_an_error_of_systemctl_is_shown_in_its_own_words(home: Home) -> None:
    (home.path / "calls.fails").touch()
    done = home.run("install")
    assert done.returncode == 1
    assert "daemon-reload: Failed to connect to bus; user units need a login" in done.stderr


def test_a_folder_that_cannot_be_created_is_explained_in_one_line(home: Home) -> None:
    home.config.write_text("a file")
    done = home.run("install")
    assert done.returncode == 1
    assert done.stderr.startswith(f"streamcam: cannot write {home.unit}: ")
    assert home.calls() == []


def test_no_temporary_file_is_left_in_the_folder_of_the_unit(home: Home) -> None:
    home.run("install")
    assert list(home.unit.parent.iterdir()) == [home.unit]


def test_status_shows_the_state_and_the_end_of_the_log(home: Home) -> None:
    home.run("install")
    (home.path / "calls.active").write_text("active\n")
    done = home.run("status")
    assert done.returncode == 0
    assert done.stdout == f'{home.unit}: enabled, active\n{{"message": "on air"}}\n'


def test_status_of_a_stopped_service_exits_with_3(home: Home) -> None:
    home.run("install")
    done = home.run("status")
    assert done.returncode == 3
    assert "enabled, inactive" in done.stdout


@pytest.mark.parametrize("subcommand", ["status", "remove"])
def test_a_missing_service_is_explained_with_the_command_that_installs_it(
    home: Home, subcommand: str
) -> None:
    done = home.run(subcommand)
    assert done.returncode == 1
    assert "streamcam service install" in done.stderr
    assert home.calls() == []


def test_remove_stops_the_service_and_deletes_the_unit(home: Home) -> None:
    home.run("install")
    done = home.run("remove")
    assert done.returncode == 0
    assert not home.unit.exists()
    assert home.calls()[-2:] == [
        f"systemctl --user disable --now {UNIT}",
        "systemctl --user daemon-reload",
    ]


def test_remove_deletes_the_unit_where_no_session_bus_is(home: Home) -> None:
    wants = home.unit.parent / "default.target.wants"
    wants.mkdir(parents=True)
    home.unit.write_text("")
    (wants / UNIT).symlink_to(home.unit)
    (home.path / "calls.fails").touch()
    done = home.run("remove")
    assert (done.returncode, done.stdout) == (0, f"removed {home.unit}\n")
    assert "was not stopped: systemctl --user disable" in done.stderr
    assert "Failed to connect to bus" in done.stderr
    assert not home.unit.exists()
    assert not (wants / UNIT).is_symlink()


def test_the_unit_sets_the_folders_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    monkeypatch.setenv("XDG_PICTURES_DIR", "/my pictures")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    lines = unit(["python"]).splitlines()
    assert {
        'Environment="XDG_CACHE_HOME=/cache"',
        'Environment="XDG_PICTURES_DIR=/my pictures"',
    } <= {*lines}
    assert not any("XDG_DATA_HOME" in line or "XDG_CONFIG_HOME" in line for line in lines)


@pytest.mark.usefixtures("deleted_folder")
def test_a_deleted_working_folder_is_explained() -> None:
    with pytest.raises(StreamcamError, match="cannot tell the current folder"):
        unit(["python"])


def test_an_unknown_home_folder_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(StreamcamError, match="set HOME or XDG_CONFIG_HOME"):
        unit_path()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--fps", "--fps"),
        ("a b", '"a b"'),
        ("", '""'),
        ('say "hi"', '"say \\"hi\\""'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ("back\\slash", '"back\\\\slash"'),
        (";", '";"'),
        ("it's", '"it\'s"'),
        ("two\nlines", '"two\\nlines"'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, expected: str) -> None:
    assert quoted(word) == expected


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    file = tmp_path / UNIT
    words = ["--prompt", 'a "b" 50% $HOME ; \\ it\'s', "--set", "prompt=ünï"]
    file.write_text(unit([sys.executable, "-m", "streamcam", "run", *words]))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )
    complaints = [line for line in done.stderr.splitlines() if UNIT in line]
    assert complaints == []
