"""``streamcam config``: what the settings come to, and whether files of them are right."""

import json
from collections.abc import Container, Iterator
from typing import Any

import click

from streamcam.cli.options import configured
from streamcam.control.osc.addresses import Addresses
from streamcam.errors import ConfigError
from streamcam.settings.base import Settings
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import PARTS, Config, build_config
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import load_preset
from streamcam.settings.video_settings import VideoSettings


@click.group()
def config() -> None:
    """Show and check settings."""


@config.command()
@click.argument("presets", nargs=-1, metavar="[NAME|FILE.toml]...")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting.")
def show(presets: tuple[str, ...], assignments: tuple[str, ...]) -> None:
    """Print every setting as TOML, and mark those that are not the default.

    Later presets win, --set wins over all. The output is a file for --config.
    """
    click.echo(toml(configured(presets, assignments, {})), nl=False)


@config.command()
@click.argument("files", nargs=-1, required=True, metavar="NAME|FILE.toml...")
def check(files: tuple[str, ...]) -> None:
    """Say of each file whether its settings are right; exit with 2 if one is not."""
    wrong = 0
    for file in files:
        try:
            settings = build_config([load_preset(file)]).broadcast
            Addresses(settings.osc_prefix, settings.osc_alias)
        except ConfigError as error:
            wrong += 1
            click.echo(f"{file}: {error}")
        else:
            click.echo(f"{file}: ok")
    if wrong:
        raise ConfigError(f"{wrong} of {len(files)} will not do")


def toml(settings: Config) -> str:
    """Return `settings` as a TOML file that `load_preset` reads back."""
    sections = (
        ("Fixed at start.", _lines(settings, Config(), PARTS)),
        (
            "Fixed at start, and read by pipeline=video alone.",
            _lines(settings.video, VideoSettings()),
        ),
        ("Fixed at start, and read by streamcam run alone.",
         _lines(settings.broadcast, BroadcastSettings())),
        ("Live.", _lines(settings.live, Parameters())),
    )  # fmt: skip
    return "\n\n".join("\n".join([f"# {title}", *lines]) for title, lines in sections) + "\n"


def _lines(table: Settings, default: Settings, leave_out: Container[str] = ()) -> Iterator[str]:
    for name in type(table).model_fields:
        if name in leave_out:
            continue
        value, usual = getattr(table, name), getattr(default, name)
        if value is None:
            # TOML has no word for it; left out it means the same.
            yield f"# {name} =" if usual is None else f"# {name} =  # default: {_value(usual)}"
        elif value == usual:
            yield f"{name} = {_value(value)}"
        else:
            was = "none" if usual is None else _value(usual)
            yield f"{name} = {_value(value)}  # default: {was}"


def _value(value: Any) -> str:
    """Return one value as TOML."""
    if isinstance(value, str):
        # A JSON string is a basic string of TOML, but for DEL, which JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if _is_plain_prompt(value):
        return _value(value[0][0])
    if isinstance(value, dict):
        inner = ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _is_plain_prompt(value: Any) -> bool:
    """Return whether `value` is one text of weight 1 that would not be read as JSON."""
    match value:
        case ((str(text), 1.0),):
            return not text.lstrip().startswith(("[", "{"))
    return False
