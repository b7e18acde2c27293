"""``streamcam completion``: install or show the script that completes commands and values."""

import os
import shlex
from contextlib import suppress
from pathlib import Path

import click

from streamcam.cli import shell_scripts
from streamcam.errors import ConfigError, StreamcamError, printable

SHELL = click.Choice(tuple(shell_scripts.SHELLS))


@click.group()
def completion() -> None:
    """Complete commands and values with Tab. For bash, zsh and fish."""


@completion.command()
@click.argument("shell", type=SHELL, required=False)
def install(shell: str | None) -> None:
    """Write the script where your shell looks for it. Another shell can be named.

    Nothing else is changed; where a line is needed in a start-up file, it is printed.
    """
    name = shell or _current_shell()
    path = shell_scripts.script_path(name)
    _write(path, shell_scripts.script(name))
    click.echo(printable(f"wrote {path}"))
    click.echo(printable(_next_step(name, path), keep="\n"))


@completion.command()
@click.argument("shell", type=SHELL, required=False)
def show(shell: str | None) -> None:
    """Print the script, to be put or evaluated elsewhere."""
    click.echo(shell_scripts.script(shell or _current_shell()), nl=False)


@completion.command()
@click.argument("shell", type=SHELL, required=False)
def remove(shell: str | None) -> None:
    """Delete the script that "completion install" wrote."""
    name = shell or _current_shell()
    path = shell_scripts.script_path(name)
    try:
        path.unlink()
    except FileNotFoundError:
        raise StreamcamError(f"no completion for {name} is installed: no {path}") from None
    except OSError as error:
        raise StreamcamError(f"cannot delete {path}: {error.strerror}") from None
    click.echo(printable(f"deleted {path}"))


def _current_shell() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in shell_scripts.SHELLS:
        known = ", ".join(shell_scripts.SHELLS)
        shown = f"{name:.40} is none of them" if name else "SHELL is not set"
        raise ConfigError(f"name the shell, one of {known}: {shown}")
    return name


def _next_step(shell: str, path: Path) -> str:
    quoted = shlex.quote(str(path))
    if shell == "bash":
        return (
            "it works in new shells, if the package bash-completion is installed; if it is not,"
            f" add this line to ~/.bashrc:\nsource {quoted}"
        )
    if shell == "zsh":
        return (
            "it works in new shells, once ~/.zshrc has this line before compinit:\n"
            f"fpath=({shlex.quote(str(path.parent))} $fpath)"
        )
    return "it works in new shells"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # Where its folder is none, for one.
            temporary.unlink(missing_ok=True)
        raise StreamcamError(f"cannot write {path}: {error.strerror}") from None
