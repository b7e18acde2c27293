"""The ``streamcam`` command: prints each error in one line and sets the exit code."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from streamcam.errors import StreamcamError, printable
from streamcam.limits import LogRateFilter
from streamcam.version import __version__

COMMANDS = {
    "run": "run",
    "render": "render",
    "devices": "devices",
    "doctor": "doctor",
    "osc": "osc",
    "config": "config_command",
    "models": "models",
    "engines": "engines",
    "bench": "bench",
    "service": "service",
}
"""Command to the module of this package that defines it."""

LINE_ENDS = "\n\t"

SPIN_COUNT = "20000"
"""Times that PyTorch's idle threads poll for work before they sleep: half a millisecond.

By default it is fifteen times that, on cores that another engine computes on in the meantime.
"""


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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return names without help, which would import every command at each press of Tab."""
        names = [CompletionItem(name) for name in COMMANDS if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="streamcam")
def streamcam() -> None:
    """Put streaming diffusion between your camera and a virtual camera."""


def main() -> None:
    """Run the command line; print an error that the user can fix in one line."""
    signal.signal(signal.SIGTERM, _stop)
    if "OMP_WAIT_POLICY" not in os.environ:
        # Read when torch is imported, also in child processes.
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    if logging.lastResort:
        # It prints the log of commands that do not show it by themselves.
        logging.lastResort.addFilter(LogRateFilter())
    sys.exit(_run(streamcam.main))


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
        click.echo(f"streamcam: {_one_line(error)}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("streamcam: stopped", err=True)
        return 130
    except click.exceptions.Exit as error:
        return error.exit_code
    return status if isinstance(status, int) else 0


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f'{message.rstrip(".")}; see "{error.ctx.command_path} --help"'
    return message


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
