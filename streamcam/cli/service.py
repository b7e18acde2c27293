"""``streamcam service``: go on air at every login, as a systemd user unit."""

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
"""Exit code for a unit that does not run, as of systemctl."""

TEMPLATE = """\
# Written by "streamcam service install", which overwrites it.
[Unit]
Description=streamcam: camera, diffusion, virtual camera
# Restart without limit: a show goes on.
StartLimitIntervalSec=0

[Service]
ExecStart={command}
WorkingDirectory={folder}
{environment}Restart=on-failure
RestartSec=2
# An invalid setting does not get better by a restart.
RestartPreventExitStatus=2
# Time to close recordings and to release the GPU; whatever still runs then is killed.
KillMode=mixed
TimeoutStopSec=15

[Install]
WantedBy=default.target
"""

PRESERVED_VARIABLES = (
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES"),
    "STREAMCAM_WEB_TOKEN",
)
"""Environment variables of the installing shell that the unit sets too."""
PRESERVED_FOLDERS = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_PICTURES_DIR")
"""The same, of which the XDG specification says to ignore relative paths."""

UNQUOTED = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
ESCAPES = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@click.group()
def service() -> None:
    """Run in the background, started at login (systemd)."""


@service.command()
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUN-OPTIONS...]")
def install(arguments: tuple[str, ...]) -> None:
    """Start streamcam now and at every login. A systemd unit of your user does that.

    A service that is already running is restarted. Options after -- are passed to
    "streamcam run":

    streamcam service install -- --config neon --sink virtual-camera
    """
    _check(arguments)
    path = unit_path()
    # Safe from modules in the folder that it is started in.
    write(path, unit([sys.executable, "-P", "-m", "streamcam", "run", "--log-json", *arguments]))
    click.echo(f"wrote {path}")
    _require_systemctl(f"wrote {path}, but", "daemon-reload", f"enable --now {UNIT}")
    running = _query("is-active") == "active"
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", UNIT)
    if running:
        _systemctl("restart", UNIT)
    click.echo("streamcam is running, and starts at every login; see: streamcam service status")
    click.echo("to start it at boot, before anybody logs in: loginctl enable-linger")


@service.command()
def status() -> None:
    """Show whether the service runs, and the end of its log.

    Exits with 0 if it runs, with 3 if it does not, with 1 if it is not installed.
    """
    path = unit_path()
    _require_unit(path)
    _require_systemctl(f"{path} exists, but", f"status {UNIT}")
    active = _query("is-active")
    click.echo(f"{path}: {_query('is-enabled')}, {active}")
    _print_log()
    if active != "active":
        sys.exit(INACTIVE)


@service.command()
def remove() -> None:
    """Stop the service and delete its unit."""
    path = unit_path()
    _require_unit(path)
    problem = _stop()
    try:
        # "disable" deletes this link, where it can be run.
        (path.parent / "default.target.wants" / UNIT).unlink(missing_ok=True)
        path.unlink()
    except OSError as error:
        raise StreamcamError(f"cannot remove {path}: {error.strerror}") from None
    click.echo(f"removed {path}")
    if problem:
        click.echo(f"streamcam: if it is running, it was not stopped: {problem}", err=True)
    elif shutil.which("systemctl"):
        _systemctl("daemon-reload")


def _stop() -> str | None:
    """Stop and disable the service; return the reason where systemctl cannot, as without a bus."""
    if shutil.which("systemctl") is None:
        return None
    try:
        _systemctl("disable", "--now", UNIT)
    except StreamcamError as error:
        return str(error)
    return None


def unit_path() -> Path:
    """Return the path of the unit, in the folder where systemd looks for the user's own units."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification says to ignore relative paths.
    try:
        folder = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    except RuntimeError:
        raise StreamcamError(
            "no home folder is known for the unit; set HOME or XDG_CONFIG_HOME"
        ) from None
    return folder / "systemd" / "user" / UNIT


def unit(command: Sequence[str]) -> str:
    """Return the text of a unit that runs `command` in the current folder."""
    # systemd expands no variables in the path of the program itself.
    program, *arguments = command
    words = [quoted(program).replace("$$", "$"), *map(quoted, arguments)]
    lines = [
        f'Environment="{name}={_environment_value(text)}"\n'
        for name, text in _preserved_variables().items()
    ]
    return TEMPLATE.format(
        command=" ".join(words),
        folder=str(_current_folder()).replace("%", "%%"),
        environment="".join(lines),
    )


def _preserved_variables() -> dict[str, str]:
    given = os.environ
    variables = {name: given[name] for name in PRESERVED_VARIABLES if given.get(name)}
    folders = {n: given[n] for n in PRESERVED_FOLDERS if Path(given.get(n, "")).is_absolute()}
    return variables | folders


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise StreamcamError(
            f"cannot tell the current folder, in which the service is to run: {error.strerror};"
            " change to another"
        ) from None


def quoted(word: str) -> str:
    """Return `word` quoted for ``ExecStart``: one argument, in which nothing is expanded."""
    if UNQUOTED.fullmatch(word):
        return word
    return '"' + "".join(ESCAPES.get(letter, letter) for letter in word) + '"'


def _environment_value(text: str) -> str:
    """Return `text` escaped for ``Environment``, where a dollar sign is literal."""
    return "".join(ESCAPES.get(letter, letter) if letter != "$" else letter for letter in text)


def write(path: Path, content: str) -> None:
    """Write a file atomically, and create its folders.

    Raises:
        StreamcamError: no permission, no space, or a file in place of a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        partial = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(content)
            # The owner alone may read it, as mkstemp has it: a URL may hold a password.
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StreamcamError(f"cannot write {path}: {error.strerror}") from None


def _check(arguments: Sequence[str]) -> None:
    """Raise now the errors that "streamcam run" would raise at every start."""
    from streamcam.cli.options import configured
    from streamcam.cli.run import run
    from streamcam.control.cue_list import load_cue_list
    from streamcam.control.preset_bank import PresetBank
    from streamcam.runtime.auto_settings import settle_model
    from streamcam.runtime.startup_check import check_startup
    from streamcam.settings.cue_settings import cue_list_file

    parameters = run.make_context("streamcam run", list(arguments)).params
    own = ("duration", "log_json", "no_browser")
    flags = {name: value for name, value in parameters.items() if name not in own}
    config = configured(flags.pop("presets"), flags.pop("assignments"), flags)
    config, _ = settle_model(config)
    check_startup(config)
    if name := config.broadcast.cue_list:
        load_cue_list(cue_list_file(name), config, PresetBank(config, lambda _line: None))


def _require_unit(path: Path) -> None:
    if not path.exists():
        raise StreamcamError(
            f"not installed: no {path}; install it with: streamcam service install"
        )


def _require_systemctl(state: str, *commands: str) -> None:
    if shutil.which("systemctl") is None:
        lines = " && ".join(f"systemctl --user {command}" for command in commands)
        raise StreamcamError(
            f"{state} this machine has no systemctl; where there is one, run: {lines}"
        )


def _systemctl(*arguments: str) -> None:
    """Run systemctl for the user's units.

    Raises:
        StreamcamError: it failed; the message holds its own reason.
    """
    result = _run("systemctl", "--user", *arguments)
    if result.returncode:
        reason = (
            " ".join((result.stderr or result.stdout).split())
            or f"it exited with {result.returncode}"
        )
        raise StreamcamError(
            f"systemctl --user {' '.join(arguments)}: {reason}; user units need a login session,"
            " or, once: loginctl enable-linger"
        )


def _query(question: str) -> str:
    """Return systemctl's answer in one word, such as ``active``; its exit code is ignored."""
    result = _run("systemctl", "--user", question, UNIT)
    return result.stdout.strip() or " ".join(result.stderr.split()) or "unknown"


def _print_log() -> None:
    if shutil.which("journalctl") is None:
        return
    options = ["--user", "--unit", UNIT, "--lines", str(LOG_LINES), "--no-pager", "--output=short"]
    click.echo(_run("journalctl", *options).stdout, nl=False)


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)
