"""``streamcam service``: on air from login on, as a systemd user unit."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from streamcam.errors import StreamcamError

UNIT = "streamcam.service"
LOG_LINES = 10
INACTIVE = 3
"""What systemctl too ends with where a unit is not running."""

TEMPLATE = """\
# Written by "streamcam service install", which overwrites it.
[Unit]
Description=streamcam: camera, diffusion, virtual camera
# A show does not give up, however often it fell.
StartLimitIntervalSec=0

[Service]
ExecStart={command}
WorkingDirectory={folder}
{environment}Restart=on-failure
RestartSec=2
# A wrong setting stays wrong.
RestartPreventExitStatus=2
# Time to close recordings and to let go of the accelerator; then whatever is left is killed.
KillMode=mixed
TimeoutStopSec=15

[Install]
WantedBy=default.target
"""

CARRIED = ("HF_HOME", "HF_HUB_CACHE", "CUDA_VISIBLE_DEVICES")
"""What the models are found by, where the shell that installs has it set."""

PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
ESCAPES = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@click.group()
def service() -> None:
    """Run in the background from login on (systemd)."""


@service.command()
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUN-OPTIONS...]")
def install(arguments: tuple[str, ...]) -> None:
    """Write the unit, enable it and start it; a running one is started anew.

    What comes after -- is given to "streamcam run", such as:
    streamcam service install -- --config neon --sink virtual-camera
    """
    _check(arguments)
    path = unit_path()
    write(path, unit([sys.executable, "-m", "streamcam", "run", "--log-json", *arguments]))
    click.echo(f"wrote {path}")
    _need_systemctl(f"wrote {path}, but", "daemon-reload", f"enable --now {UNIT}")
    running = _says("is-active") == "active"
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", UNIT)
    if running:
        _systemctl("restart", UNIT)
    click.echo("streamcam runs, and will from your next login on; see: streamcam service status")
    click.echo("before anybody logs in, too: loginctl enable-linger")


@service.command()
def status() -> None:
    """Show whether it is installed and running, and the end of its log."""
    path = unit_path()
    _need_unit(path)
    _need_systemctl(f"{path} is there, but", f"status {UNIT}")
    active = _says("is-active")
    click.echo(f"{path}: {_says('is-enabled')}, {active}")
    _log()
    if active != "active":
        sys.exit(INACTIVE)


@service.command()
def remove() -> None:
    """Stop it, and delete the unit."""
    path = unit_path()
    _need_unit(path)
    there = shutil.which("systemctl") is not None
    if there:
        _systemctl("disable", "--now", UNIT)
    path.unlink()
    if there:
        _systemctl("daemon-reload")
    click.echo(f"removed {path}")


def unit_path() -> Path:
    """Return where systemd looks for the user's own units."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification has relative ones ignored.
    folder = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    return folder / "systemd" / "user" / UNIT


def unit(command: Sequence[str]) -> str:
    """Return the unit that runs `command` in the current folder."""
    # The program's own path is not searched for variables.
    program, *arguments = command
    words = [quoted(program).replace("$$", "$"), *map(quoted, arguments)]
    variables = {name: os.environ[name] for name in CARRIED if os.environ.get(name)}
    lines = [f'Environment="{name}={_setting(text)}"\n' for name, text in variables.items()]
    return TEMPLATE.format(
        command=" ".join(words),
        folder=str(Path.cwd()).replace("%", "%%"),
        environment="".join(lines),
    )


def quoted(word: str) -> str:
    """Return `word` as an argument in ``ExecStart``: one word, nothing in it expanded."""
    if PLAIN.fullmatch(word):
        return word
    return '"' + "".join(ESCAPES.get(letter, letter) for letter in word) + '"'


def _setting(text: str) -> str:
    """Return `text` for ``Environment``, where a dollar is a dollar."""
    return "".join(ESCAPES.get(letter, letter) if letter != "$" else letter for letter in text)


def write(path: Path, content: str) -> None:
    """Write a file whole or not at all, making its folders.

    Raises:
        StreamcamError: there is no permission, no room, or a file in place of a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        partial = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(content)
            partial.chmod(0o644)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StreamcamError(f"cannot write {path}: {error.strerror}") from None


def _check(arguments: Sequence[str]) -> None:
    """Refuse at once what "streamcam run" would refuse at every start."""
    from streamcam.cli.options import configured
    from streamcam.cli.run import run

    given = run.make_context("streamcam run", list(arguments)).params
    own = ("duration", "log_json")
    flags = {name: value for name, value in given.items() if name not in own}
    configured(flags.pop("presets"), flags.pop("assignments"), flags)


def _need_unit(path: Path) -> None:
    if not path.exists():
        raise StreamcamError(
            f"not installed: no {path}; install it with: streamcam service install"
        )


def _need_systemctl(before: str, *commands: str) -> None:
    if shutil.which("systemctl") is None:
        lines = " && ".join(f"systemctl --user {command}" for command in commands)
        raise StreamcamError(
            f"{before} there is no systemctl here; where there is one, run: {lines}"
        )


def _systemctl(*arguments: str) -> None:
    """Run systemctl for the user's units.

    Raises:
        StreamcamError: it failed, with its own reason.
    """
    done = _run("systemctl", "--user", *arguments)
    if done.returncode:
        reason = (
            " ".join((done.stderr or done.stdout).split()) or f"it ended with {done.returncode}"
        )
        raise StreamcamError(
            f"systemctl --user {' '.join(arguments)}: {reason}; user units need a login session,"
            " or once: loginctl enable-linger"
        )


def _says(question: str) -> str:
    """Return the one word systemctl answers, such as ``active``; it also tells by its status."""
    done = _run("systemctl", "--user", question, UNIT)
    return done.stdout.strip() or " ".join(done.stderr.split()) or "unknown"


def _log() -> None:
    if shutil.which("journalctl") is None:
        return
    options = ["--user", "--unit", UNIT, "--lines", str(LOG_LINES), "--no-pager", "--output=short"]
    click.echo(_run("journalctl", *options).stdout, nl=False)


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)
