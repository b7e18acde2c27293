"""Options, test scene and printing shared by the commands of ``streamcam bench``."""

import json
import os
import platform
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.status import Status
from rich.table import Table

from streamcam.cli.options import configured
from streamcam.embedded_model import NANO
from streamcam.settings.config import Config
from streamcam.settings.config_layers import with_model
from streamcam.settings.model_settings import AUTO
from streamcam.types import Image

Command = TypeVar("Command", bound=Callable[..., Any])
SCENE_FRAMES = 8
"""Frames of the moving scene, which is then repeated."""


def seconds(default: float, least: float, help_text: str) -> Callable[[Command], Command]:
    """Give a command ``--seconds``."""
    kind = click.FloatRange(min=least)
    return click.option(
        "--seconds",
        type=kind,
        metavar="SECONDS",
        default=default,
        show_default=True,
        help=help_text,
    )


def rounds(default: int, help_text: str) -> Callable[[Command], Command]:
    """Give a command ``--rounds``."""
    kind = click.IntRange(min=1)
    return click.option(
        "--rounds", type=kind, metavar="N", default=default, show_default=True, help=help_text
    )


def as_json(command: Command) -> Command:
    """Give a command ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")(
        command
    )


def configured_or_nano(
    presets: tuple[str, ...], assignments: tuple[str, ...], flags: dict[str, Any]
) -> Config:
    """Return the settings of a command, with nano if no model is named."""
    config = configured(presets, assignments, flags)
    return with_model(config, NANO) if config.model == AUTO else config


def moving_scene(config: Config) -> list[Image]:
    """Return images of the test pattern in the size of the model, ``(H, W, 3)`` uint8."""
    from streamcam.sources.generated import Pattern

    return list(Pattern(config.width, config.height, Fraction(4), SCENE_FRAMES).images())


def status() -> Status:
    """Return a context manager that shows on a terminal that something is being measured."""
    return Console(stderr=True).status("measuring")


def hardware() -> dict[str, str | int]:
    """Return the machine that figures were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def print_json(facts: dict[str, Any], **figures: Any) -> None:
    """Print the figures, and the machine they were measured on, as one JSON object."""
    click.echo(json.dumps({"machine": facts, **figures}))


def print_facts(facts: dict[str, Any]) -> None:
    """Print the machine and settings that figures were measured with, in one line."""
    click.echo(", ".join(f"{name} {value}" for name, value in facts.items()))


def table(*headings: str, title: str | None = None) -> Table:
    """Return a table with a column of names, and one of numbers for each heading."""
    result = Table(title=title, title_justify="left", box=None, pad_edge=False)
    result.add_column("", min_width=26, no_wrap=True)
    for heading in headings:
        result.add_column(heading, justify="right")
    return result
