"""``streamcam presets``: list, show, save, load, rename and delete presets, and find them."""

import re
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import click

from streamcam.cli import value_completion
from streamcam.cli.options import configured, given, settings
from streamcam.cli.osc_client import Client, client_options
from streamcam.control.messages import Message
from streamcam.control.preset_files import (
    SAVED,
    delete_preset,
    look_of,
    preset_text,
    rename_preset,
    save_preset,
    saved_file,
)
from streamcam.control.values import parse_number
from streamcam.embedded_model import LOOKS
from streamcam.errors import ConfigError, ParameterError, StreamcamError, printable
from streamcam.runtime.parameters_summary import prompt_text
from streamcam.settings.config import PARTS
from streamcam.settings.config_layers import split_layer
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import find_presets, load_preset, no_preset, shipped_folder
from streamcam.system.paths import presets_folder

A_LINE_EACH = 10_000
"""Columns where no terminal has to wrap the lines, but a program may read them."""


@click.group(invoke_without_command=True)
@click.pass_context
def presets(ctx: click.Context) -> None:
    """List the presets, show, save, load, rename or delete one.

    A preset is a file of settings with a name: a look, or a model and how it is best run.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@presets.command(name="list")
def list_() -> None:
    """Show each preset, and the looks that nano knows by name."""
    looks: list[tuple[str, str]] = []
    settings: list[tuple[str, str]] = []
    for name, path in sorted(find_presets().items()):
        is_look, line = _described(path)
        (looks if is_look else settings).append((name, line))
    width = get_terminal_size().columns if sys.stdout.isatty() else A_LINE_EACH
    text = click.HelpFormatter(width=width)
    title = 'Looks, on air with "streamcam presets load NAME", at start with --config NAME'
    for heading, rows in (
        (title, looks),
        ("Models and other settings, with run --config NAME", settings),
    ):
        text.write(f"{heading}:\n")
        with text.indentation():
            text.write_dl([(printable(name), printable(line)) for name, line in rows])
    text.write_text(f"nano also takes these as prompts: {', '.join(LOOKS)}.")
    click.echo(text.getvalue().rstrip())


def _described(path: Path) -> tuple[bool, str]:
    """Return whether a preset has a prompt, and a line on it: that, else its first comment."""
    try:
        fixed, live = split_layer(load_preset(str(path)))
        if "prompt" in live:
            return True, prompt_text(Parameters.parse({"prompt": live["prompt"]}).prompt)
        text = path.read_text(encoding="utf-8-sig")
    except (StreamcamError, OSError) as error:
        return False, f"cannot be used: {error}"
    comment = takewhile(lambda line: line.startswith("#"), text.splitlines())
    if about := " ".join(line.strip("# ") for line in comment):
        return False, re.split(r"[.;] ", about)[0].rstrip(".")
    return False, ", ".join([*fixed, *live])


@presets.command()
@click.argument("name", shell_complete=value_completion.preset_names)
def show(name: str) -> None:
    """Print a preset. The path of its file is in a comment."""
    path = _path(name)
    load_preset(name)
    click.echo(printable(f"# {path}"))
    click.echo(printable(path.read_text(encoding="utf-8-sig"), keep="\n\t").rstrip())


@presets.command(options_metavar="[OPTIONS]")
@click.argument("name", shell_complete=value_completion.own_presets)
@click.option("--overwrite", is_flag=True, help="Replace the preset of that name.")
@settings()
@client_options
def save(
    name: str,
    overwrite: bool,
    host: str,
    port: int,
    prefix: str,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Save the look that is on air. Settings that are given are saved instead.

    streamcam presets save "my look"

    streamcam presets save rough --prompt "charcoal drawing" --strength 0.6

    It is kept in your configuration folder, and every broadcast finds it by its name, the one that
    is running too.
    """
    if saved_file(name).exists() and not overwrite:
        raise ConfigError(f'there is a preset "{name}" already; replace it with --overwrite')
    if presets or assignments or given(flags):
        values = dict(_given_values(presets, assignments, flags))
    else:
        values = _live_values(host, port, prefix)
    path = save_preset(name, preset_text(values), overwrite=overwrite)
    click.echo(printable(f'saved "{name}" as {path}'))
    try:
        with Client(host, port, prefix) as client:
            client.ask(Message(f"{prefix}/preset/refresh"))
    except StreamcamError:
        return  # No broadcast is running, so that none has to know.


def _given_values(
    presets: tuple[str, ...], assignments: tuple[str, ...], flags: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    config = configured(presets, assignments, flags)
    for table in (config, config.video, config.live):
        for name in type(table).model_fields:
            value = getattr(table, name)
            if name in table.model_fields_set and name not in PARTS and value is not None:
                yield name, value


def _live_values(host: str, port: int, prefix: str) -> dict[str, Any]:
    """Return the look of the broadcast, by the names of its settings."""
    with Client(host, port, prefix) as client:
        answers = {message.address: message.arguments for message in client.all_values()}
    values: dict[str, Any] = {}
    for name in SAVED:
        if arguments := answers.get(f"{prefix}/{name}"):
            # A float32 is not the number that was meant: 1.2 arrives as 1.2000000476837158.
            shortest = [parse_number([a]) if isinstance(a, float) else a for a in arguments]
            values[name] = shortest if name == "t_index_list" else shortest[0]
    return look_of(Parameters.parse(values))


@presets.command()
@click.argument("name", shell_complete=value_completion.preset_names)
@client_options
def load(name: str, host: str, port: int, prefix: str) -> None:
    """Load a preset into the running broadcast. It fades over the setting preset_time."""
    with Client(host, port, prefix) as client:
        client.ask(Message(f"{prefix}/preset/refresh"))
        try:
            client.ask(Message(f"{prefix}/preset/load", (name,)))
        except ParameterError:
            if name.casefold() in LOOKS:
                raise ConfigError(no_preset(name, ())) from None
            raise
        answers = dict(client.ask(Message(f"{prefix}/get", (f"{prefix}/preset/load",))))
    loaded = answers.get(f"{prefix}/preset/load", ("",))[0]
    click.echo(printable(f"preset: {loaded}"))


@presets.command()
@click.argument("name", shell_complete=value_completion.own_presets)
def delete(name: str) -> None:
    """Delete one of your presets; those that come with streamcam stay."""
    path = delete_preset(name)
    click.echo(printable(f"deleted {path}"))


@presets.command()
@click.argument("old", shell_complete=value_completion.own_presets)
@click.argument("new")
def rename(old: str, new: str) -> None:
    """Rename one of your presets; those that come with streamcam stay."""
    click.echo(printable(f'renamed "{old}" to "{new}", {rename_preset(old, new)}'))


@presets.command()
@click.argument("name", required=False, shell_complete=value_completion.preset_names)
def where(name: str | None) -> None:
    """Print the file of a preset. Without a name, the folder of yours and of those shipped."""
    if name is not None:
        click.echo(_path(name))
        return
    click.echo(f"yours:   {presets_folder()}")
    click.echo(f"shipped: {shipped_folder()}")


def _path(name: str) -> Path:
    available = find_presets()
    if name not in available:
        raise ConfigError(no_preset(name, available))
    return available[name].absolute()
