"""``streamcam config``: show the resulting settings, and check files of settings."""

import codecs
import re
import sys
from collections.abc import Container, Iterator

import click

from streamcam.cli import value_completion
from streamcam.cli.options import configured
from streamcam.control.addresses import Addresses
from streamcam.errors import ConfigError
from streamcam.redaction import redacted_url
from streamcam.settings.base import Settings
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import PARTS, Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import load_preset
from streamcam.settings.toml_values import toml_setting
from streamcam.settings.video_settings import VideoSettings

NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@click.group()
def config() -> None:
    """Show and check settings."""


@config.command()
@click.argument(
    "presets",
    nargs=-1,
    metavar="[NAME|FILE.toml]...",
    shell_complete=value_completion.preset_files,
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting by its name; wins over the files.",
    shell_complete=value_completion.assignments,
)
@click.option("--secrets", is_flag=True, help="Also print passwords and tokens.")
def show(presets: tuple[str, ...], assignments: tuple[str, ...], *, secrets: bool) -> None:
    """Print every setting as TOML, those that were not given as comments.

    Later presets win, --set wins over everything. The output can be a file for --config, which
    runs the same: what stands in a comment is still left to the model and to this machine.
    Passwords and tokens are left out, unless --secrets is given.
    """
    settings = configured(presets, assignments, {})
    text = toml(settings if secrets else without_secrets(settings))
    if not secrets and text != toml(settings):
        click.echo("streamcam: left out what is secret; --secrets writes it", err=True)
    # TOML is UTF-8: to another encoding go escapes alone, so that a file of it can be read back.
    is_utf8 = codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
    click.echo(text if is_utf8 else NOT_ASCII.sub(_escaped, text), nl=False)


@config.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="NAME|FILE.toml...",
    shell_complete=value_completion.preset_files,
)
def check(files: tuple[str, ...]) -> None:
    """Check the settings in each file; exit with 2 if any is invalid."""
    invalid = 0
    for file in files:
        try:
            Addresses.of(build_config([load_preset(file)]))
        except ConfigError as error:
            invalid += 1
            click.echo(f"{file}: {error}")
        else:
            click.echo(f"{file}: ok")
    if invalid:
        raise ConfigError(f"{invalid} of {len(files)} are invalid")


def without_secrets(settings: Config) -> Config:
    """Return `settings` without the token of the page, and those in URLs of source and sinks."""
    broadcast = settings.broadcast
    shown = {
        "source": redacted_url(broadcast.source),
        "sink": tuple(map(redacted_url, broadcast.sink)),
        "web_token": None,
    }
    given = {name: value for name, value in shown.items() if value != getattr(broadcast, name)}
    return settings.model_copy(update={"broadcast": broadcast.model_copy(update=given)})


def toml(settings: Config) -> str:
    """Return `settings` as a TOML file that `load_preset` reads back."""
    video, broadcast, live = settings.video, settings.broadcast, settings.live
    sections = (
        ("Fixed at start.", _lines(settings, Config(), PARTS)),
        ("Fixed at start, and only used by pipeline=video.", _lines(video, VideoSettings())),
        ("Fixed at start, and only used by streamcam run.", _lines(broadcast, BroadcastSettings())),
        ("Live.", _lines(live, Parameters())),
    )
    return "\n\n".join("\n".join([f"# {title}", *lines]) for title, lines in sections) + "\n"


def _lines(table: Settings, default: Settings, leave_out: Container[str] = ()) -> Iterator[str]:
    for name in type(table).model_fields:
        if name in leave_out:
            continue
        value, default_value = getattr(table, name), getattr(default, name)
        shown_default = "none" if default_value is None else toml_setting(name, default_value)
        comment = "" if value == default_value else f"  # default: {shown_default}"
        # TOML has no null; a missing key means the same.
        shown = f"{name} =" if value is None else f"{name} = {toml_setting(name, value)}"
        # A default that was written out would win over the one of the model's own folder.
        given = value is not None and name in table.model_fields_set
        yield f"{'' if given else '# '}{shown}{comment}"


def _escaped(letter: re.Match[str]) -> str:
    return f"\\U{ord(letter[0]):08x}"
