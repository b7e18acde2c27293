"""The ``streamcam`` command: the only place that prints errors and exits."""

import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from streamcam.errors import StreamcamError
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
"""Each command, and the module here that holds it."""

SPINS = "20000"
"""How often torch's idle threads look for work before they sleep: for half a millisecond.

Its own choice is fifteen times that, on the cores that another engine computes on meanwhile.
"""


class _Commands(click.Group):
    """Imports a command when it is called: the others' imports would keep it off air."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"streamcam.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="streamcam")
def streamcam() -> None:
    """Streaming diffusion between your camera and a virtual camera."""


def main() -> None:
    """Run the command line; what the user can mend is said in one line."""
    signal.signal(signal.SIGTERM, _stop)
    if "OMP_WAIT_POLICY" not in os.environ:
        # Read when torch is imported, in the processes that are started too.
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    sys.exit(_run(streamcam.main))


def _run(command: Callable[..., Any]) -> int:
    try:
        # Told to exit with a status, click returns it here.
        status = command(standalone_mode=False, obj=time.monotonic())
    except StreamcamError as error:
        click.echo(f"streamcam: {error}", err=True)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"streamcam: {_in_one_line(error)}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("streamcam: stopped", err=True)
        return 130
    except click.exceptions.Exit as done:
        return done.exit_code
    return status if isinstance(status, int) else 0


def _in_one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f'{message.rstrip(".")}; see "{error.ctx.command_path} --help"'
    return message


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
