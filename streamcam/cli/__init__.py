"""The ``streamcam`` command: prints each error in one line and sets the exit code."""

import errno
import io
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Container
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from streamcam.errors import StreamcamError, printable, suggest
from streamcam.redaction import redacted
from streamcam.system.child_process import guarded_children
from streamcam.system.standard_streams import OUTPUT, protect_stderr
from streamcam.version import __version__

COMMANDS = {
    "run": "run",
    "prompt": "prompt",
    "presets": "presets_command",
    "cues": "cues_command",
    "serve": "serve",
    "cluster": "cluster_command",
    "render": "render",
    "devices": "devices",
    "doctor": "doctor",
    "osc": "osc",
    "midi": "midi",
    "config": "config_command",
    "models": "models",
    "engines": "engines",
    "bench": "bench",
    "service": "service",
    "completion": "completion",
}
"""Command to the module of this package that defines it."""

SYNONYMS = {
    **dict.fromkeys(("start", "go", "live", "stream", "preview"), "run"),
    **dict.fromkeys(("looks", "preset", "styles"), "presets"),
    **dict.fromkeys(("cue", "cuelist", "cue-list"), "cues"),
    **dict.fromkeys(("cameras", "list"), "devices"),
    **dict.fromkeys(("check", "diagnose"), "doctor"),
    **dict.fromkeys(("model", "download", "pull"), "models"),
    **dict.fromkeys(("benchmark",), "bench"),
}
"""Words that people try for a command, and the command."""

GUARDED = ("run", "serve", "render", "engines", "bench")
"""Commands that load models, and so start processes or use libraries that do."""

LINE_ENDS = "\n\t"
NO_COMMAND = re.compile("No such command '(.*?)'")
"""The beginning of click's error on a command that a group does not have."""
COMPLETION = "_STREAMCAM_COMPLETE"
"""Environment variable with which a shell asks for completions."""

SPIN_COUNT = "20000"
"""Times that PyTorch's idle threads poll for work before they sleep: half a millisecond.

By default it is fifteen times that, on cores that another engine computes on in the meantime.
"""

UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of an output that is gone or full."""


class _LazyGroup(click.Group):
    """A group that imports a command when it is called.

    The imports of all other commands would delay going on air.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"streamcam.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args`; "help run" is read as "run --help", as people type it."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` begin with; raise NoSuchCommand with the nearest one."""
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            meant = {name: name for name in COMMANDS} | SYNONYMS
            nearest = get_close_matches(args[0].lower(), meant, n=1)
            hint = f'; did you mean "{meant[nearest[0]]}"?' if nearest else ""
            raise click.UsageError(f'no command "{args[0]:.40}"{hint}', ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return names without help, which would import every command at each press of Tab."""
        names = [CompletionItem(name) for name in COMMANDS if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="streamcam")
@click.pass_context
def streamcam(ctx: click.Context) -> None:
    """Put streaming diffusion between your camera and a virtual camera.

    Begin with "streamcam run", which goes on air with what this machine has. Then, in another
    terminal, "streamcam prompt" changes the look, and "streamcam doctor" says what is missing.
    """
    if ctx.invoked_subcommand in GUARDED:
        ctx.with_resource(guarded_children())


def main() -> None:
    """Run the command line; print an error that the user can fix in one line."""
    protect_stderr()
    signal.signal(signal.SIGTERM, _stop)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _stop)  # Its terminal was closed; nohup ignores that.
    for stream in (sys.stdout, sys.stderr):
        replace_unencodable(stream)
    if COMPLETION in os.environ:
        import_module("streamcam.cli.shell_scripts").register()
    if "OMP_WAIT_POLICY" not in os.environ:
        # Read when torch is imported, also in child processes.
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    try:
        status = _run(streamcam.main)
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        status = _end_output(error)
    sys.exit(status)


def replace_unencodable(stream: object) -> None:
    """Let `stream` print ? for what its encoding lacks, where it would raise or print an escape.

    Escapes stay where a program may read them: stderr has them by default.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return
    if stream.errors != "backslashreplace" or stream.isatty():
        stream.reconfigure(errors="replace")


def _run(command: Callable[..., Any]) -> int:
    try:
        # click returns the status that a command passed to `ctx.exit`.
        status = command(standalone_mode=False, obj=time.monotonic())
    except StreamcamError as error:
        click.echo(f"streamcam: {printable(str(error), keep=LINE_ENDS)}", err=True)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"streamcam: {redacted(_one_line(error))}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("streamcam: stopped", err=True)
        return 130
    except click.exceptions.Exit as error:
        return error.exit_code
    return status if isinstance(status, int) else 0


def _end_output(error: OSError) -> int:
    """Return the exit status for an error of the output; raise `error` if it is another."""
    if error.filename is not None or error.errno not in UNWRITABLE:
        raise error
    # Python would write the rest at its end, and exit with a status of its own.
    os.dup2(os.open(os.devnull, os.O_WRONLY), OUTPUT)
    if error.errno == errno.EPIPE:
        return 0  # "| head" has read all that it wanted.
    click.echo(f"streamcam: cannot write the output: {error.strerror}", err=True)
    return 1


def _one_line(error: click.ClickException) -> str:
    message = _with_nearest(error) or " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        see = f'see "{error.ctx.command_path} --help"'
        return f"{message} Or {see}" if message.endswith("?") else f"{message.rstrip('.')}; {see}"
    return message


def _with_nearest(error: click.ClickException) -> str:
    """Return a line on an option or command that does not exist, and on what may be meant."""
    if isinstance(error, click.NoSuchOption):
        setting = error.option_name.lstrip("-").replace("-", "_")
        if error.ctx and _takes_settings(error.ctx.command) and setting in _settings():
            return f"no option {error.option_name}: set it with --set {setting}=VALUE"
        known = {option.lstrip("-"): option for option in error.possibilities or ()}
        nearest = get_close_matches(error.option_name.lstrip("-"), known, n=1)
        hint = f'; did you mean "{known[nearest[0]]}"?' if nearest else ""
        return f'no option "{error.option_name:.40}"{hint}'
    command = error.ctx.command if isinstance(error, click.UsageError) and error.ctx else None
    if isinstance(command, click.Group) and (no := NO_COMMAND.match(error.format_message())):
        return f'no command "{no[1]:.40}"; {suggest(no[1], command.commands)}'
    return ""


def _takes_settings(command: click.Command) -> bool:
    return any("--set" in parameter.opts for parameter in command.params)


def _settings() -> Container[str]:
    from streamcam.settings.config import FIXED_NAMES, LIVE_NAMES

    return {*FIXED_NAMES, *LIVE_NAMES}


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
