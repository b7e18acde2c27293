"""Flags made from the settings, without running anything."""

import click
import pytest
from click.testing import CliRunner

from streamcam import cli
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--promt", "x"], 'no option "--promt"; did you mean "--prompt"? Or see'),
        (["run", "--fit", "fill"], "no option --fit: set it with --set fit=VALUE; see"),
        (["run", "--smooth"], 'no option "--smooth"; see "streamcam run --help"'),
        (["presets", "shwo"], 'no command "shwo"; did you mean "show"? Or see'),
        (["presets", "frob"], 'no command "frob"; known: delete, list, load, rename, save, show'),
    ],
)
def test_a_wrong_word_is_answered_with_what_may_be_meant(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(**options: object) -> object:
        return cli.streamcam.main(words, prog_name="streamcam", **options)  # type: ignore[call-overload]

    assert cli._run(main) == 2
    assert capsys.readouterr().err.startswith(f"streamcam: {said}")
