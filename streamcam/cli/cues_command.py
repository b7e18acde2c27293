"""``streamcam cues``: list cue lists, show one, and check them before the show."""

from collections.abc import Iterator
from typing import Any

import click

from streamcam.cli.options import configured, settings
from streamcam.control.cue_list import Cue, CueList, load_cue_list
from streamcam.control.preset_bank import PresetBank
from streamcam.errors import ConfigError, printable
from streamcam.runtime.parameters_summary import prompt_text
from streamcam.settings.base import as_utf8
from streamcam.settings.cue_settings import cue_list_file, find_cue_lists
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import is_prompt
from streamcam.system.paths import cue_lists_folder

HEADINGS = ("", "cue", "fade", "follow", "at", "what")


@click.group(invoke_without_command=True)
@click.pass_context
def cues(ctx: click.Context) -> None:
    """List the cue lists, show or check one.

    A cue list is a TOML file of named cues, which GO plays one after the other on air.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@cues.command(name="list")
def list_() -> None:
    """Show the name and the file of each cue list."""
    known = find_cue_lists()
    width = max(map(len, known), default=0)
    for name, path in sorted(known.items()):
        click.echo(printable(f"{name:{width}}  {path}"))
    click.echo(printable(f"yours are in {cue_lists_folder()}"))


@cues.command(options_metavar="[OPTIONS]")
@click.argument("lists", nargs=-1, required=True, metavar="NAME|FILE.toml...")
@settings()
def check(
    lists: tuple[str, ...], presets: tuple[str, ...], assignments: tuple[str, ...], **flags: Any
) -> None:
    """Check cue lists with the settings of the show.

    Exits with 2 if any is wrong.
    """
    config = configured(presets, assignments, flags)
    bank = PresetBank(config, _ignore)
    wrong = 0
    for name in lists:
        try:
            found = load_cue_list(cue_list_file(as_utf8(name)), config, bank)
        except ConfigError as error:
            wrong += 1
            click.echo(printable(f"{name}: {error}"))
        else:
            click.echo(printable(f"{name}: {len(found.cues)} cues, ok"))
    if wrong:
        raise ConfigError(f"{wrong} of {len(lists)} are wrong")


@cues.command(options_metavar="[OPTIONS]")
@click.argument("name", metavar="NAME|FILE.toml")
@settings()
def show(name: str, presets: tuple[str, ...], assignments: tuple[str, ...], **flags: Any) -> None:
    """Check a cue list and print its cues as a table."""
    config = configured(presets, assignments, flags)
    found = load_cue_list(cue_list_file(as_utf8(name)), config, PresetBank(config, _ignore))
    rows = [HEADINGS, *_rows(found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)]
        click.echo(printable("  ".join(cells).rstrip()))


def _rows(found: CueList) -> Iterator[tuple[str, ...]]:
    for number, cue in enumerate(found.cues, start=1):
        fade = f"{cue.fade.seconds:g} s" if cue.fade.seconds else ""
        follow = "" if cue.follow_s is None else f"{cue.follow_s:g} s"
        at = "" if cue.at is None else cue.at.isoformat()
        yield str(number), cue.name, fade, follow, at, _what(cue)


def _what(cue: Cue) -> str:
    """Return what a cue does in one line."""
    parts = [f"preset {cue.preset}"] if cue.preset else []
    for name, value in cue.values.items():
        shown = prompt_text(value) if is_prompt(Parameters.model_fields[name]) else str(value)
        parts.append(f"{name} {shown}".rstrip())
    return ", ".join([*parts, *cue.triggers])


def _ignore(_line: str) -> None:
    """Leave out what is wrong with presets that no cue may name."""
