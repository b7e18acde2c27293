"""Setup that every command does before its own work."""

import logging
import os
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from streamcam import cli


@pytest.fixture(autouse=True)
def no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_run", lambda _: 0)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(sys.stderr))
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        # Set, then deleted, so that monkeypatch also deletes the value a test leaves.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_idle_threads_of_torch_soon_release_their_cores() -> None:
    with pytest.raises(SystemExit):
        cli.main()
    assert int(os.environ["GOMP_SPINCOUNT"]) < 300_000


def groups_of(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """Yield a context for `command` if it has subcommands, and for those of them that do."""
    if isinstance(command, click.Group):
        yield context
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from groups_of(child, click.Context(child, parent=context, info_name=name))


def test_the_lists_of_commands_say_each_in_a_whole_line() -> None:
    context = click.Context(cli.streamcam, info_name="streamcam", terminal_width=80)
    for group in groups_of(cli.streamcam, context):
        lines = group.command.get_help(group).partition("Commands:")[2].splitlines()
        assert lines
        assert [line for line in lines if line.endswith("...")] == [], group.command_path


@pytest.mark.parametrize(
    ("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "ACTIVE")]
)
def test_thread_variables_set_by_the_user_are_kept(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        cli.main()
    assert os.environ[name] == value
    assert os.environ.get("GOMP_SPINCOUNT", "7") == "7"


def test_a_fault_that_repeats_does_not_flood_the_log_of_any_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    last_resort = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging, "lastResort", last_resort)
    with pytest.raises(SystemExit):
        cli.main()
    for number in range(5000):
        last_resort.handle(logging.LogRecord("x", 40, "x.py", 7, "damaged %d", (number,), None))
    assert 50 <= len(capsys.readouterr().err.splitlines()) < 100


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("rnu", "run"),
        ("prmpt", "prompt"),
        ("strat", "run"),
        ("looks", "presets"),
        ("doctr", "doctor"),
    ],
)
def test_a_wrong_command_names_the_one_that_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(click.UsageError, match=f'no command "{typed}"; did you mean "{meant}"'):
        cli.streamcam.main([typed], standalone_mode=False)


@pytest.mark.parametrize("command", [[], ["prompt"], ["completion", "install"]])
def test_help_is_a_command_too(command: list[str]) -> None:
    asked, option = (
        CliRunner().invoke(cli.streamcam, args)
        for args in (["help", *command], [*command, "--help"])
    )
    assert asked.exit_code == 0
    assert asked.output == option.output


def test_an_unknown_command_is_refused_and_nothing_is_guessed() -> None:
    with pytest.raises(click.UsageError, match=r'^no command "xyzzy"$'):
        cli.streamcam.main(["xyzzy", "--help"], standalone_mode=False)
