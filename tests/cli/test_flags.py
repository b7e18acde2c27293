"""Flags made from the settings, without running anything."""

import click
import pytest
from click.testing import CliRunner

from streamcam.cli.options import given, settings
from streamcam.settings.broadcast_settings import BroadcastSettings


@click.command()
@settings(BroadcastSettings)
def show(presets: tuple[str, ...], assignments: tuple[str, ...], **flags: object) -> None:
    click.echo(given(flags).get("obs", "none"))


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ([], "none"),
        (["--obs"], "localhost"),
        (["--obs", "--fps", "30"], "localhost"),
        (["--obs", "studio:4460"], "studio:4460"),
        (["--obs=studio"], "studio"),
    ],
)
def test_obs_is_connected_with_and_without_an_address(typed: list[str], shown: str) -> None:
    result = CliRunner().invoke(show, typed)
    assert result.exit_code == 0, result.output
    assert result.output.strip() == shown
