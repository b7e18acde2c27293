"""Command-line flags, made from the fields of `Config`, `Parameters` and the other settings."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from pydantic.fields import FieldInfo

from streamcam.cli import value_completion
from streamcam.errors import ConfigError
from streamcam.settings.base import Settings, is_number, literal_values, traits
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.layer import Layer
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import load_preset
from streamcam.settings.video_settings import VideoSettings

Command = TypeVar("Command", bound=Callable[..., Any])
SIZE = BroadcastSettings.model_fields["canvas"].annotation


def settings(*tables: type[Settings]) -> Callable[[Command], Command]:
    """Give a command ``--config``, ``--set`` and the flags of the fields that have one."""
    extra = [
        click.Option(
            ["--config", "presets"],
            multiple=True,
            metavar="NAME|FILE.toml",
            help="Preset by its name, or a TOML file; may be given several times, later ones win.",
            shell_complete=value_completion.preset_files,
        ),
        click.Option(
            ["--set", "assignments"],
            multiple=True,
            metavar="KEY=VALUE",
            help="Any setting by its name; wins over everything else.",
            shell_complete=value_completion.assignments,
        ),
    ]
    flags = [
        _flag(name, field)
        for table in tables or (Config, VideoSettings, Parameters)
        for name, field in table.model_fields.items()
        if traits(field).flag
    ]

    def with_flags(command: Command) -> Command:
        command.__click_params__ = [  # type: ignore[attr-defined]
            *getattr(command, "__click_params__", []),
            *reversed(extra + flags),
        ]
        return command

    return with_flags


def _flag(name: str, field: FieldInfo) -> click.Option:
    flag = f"--{name.replace('_', '-')}"
    if field.annotation is bool:
        return click.Option([flag, name], is_flag=True, default=None, help=field.description)
    if bare := traits(field).bare:
        return click.Option(
            [flag, name],
            is_flag=False,
            flag_value=bare,
            metavar="[HOST:PORT]",
            help=field.description,
        )
    default = field.default
    metavar = "|".join(literal_values(field)) or ("NUMBER" if is_number(field) else None)
    if field.annotation == SIZE:
        metavar, default = "WIDTHxHEIGHT", "x".join(map(str, default))
    show_default = isinstance(default, (str, int, float))
    own = ", or the model's own" if traits(field).model_default else ""
    return click.Option(
        [flag, name],
        multiple=traits(field).repeatable,
        metavar=metavar,
        shell_complete=value_completion.field_values(name, field),
        help=f"{field.description} [{default}{own}]" if show_default else field.description,
    )


def configured(
    presets: tuple[str, ...], assignments: tuple[str, ...], flags: dict[str, Any], **fixed: Any
) -> Config:
    """Return the Config of the command line: presets, then flags, then ``--set``.

    `fixed` is what the command itself sets, and wins.
    """
    flagged = Layer(given(flags), lambda name: f"--{name.replace('_', '-')}")
    pairs = [_assignment(text) for text in assignments]
    assigned = [Layer({name: value}, lambda _name: "--set") for name, value in pairs]
    return build_config([*map(load_preset, presets), flagged, *assigned, fixed])


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """Return those of `flags` that were on the command line."""
    return {name: value for name, value in flags.items() if value not in (None, ())}


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f'--set takes KEY=VALUE, got "{text}"')
    return name.strip().replace("-", "_"), value
