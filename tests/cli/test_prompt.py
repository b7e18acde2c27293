"""``streamcam prompt`` with a broadcast, and without one."""

from dataclasses import replace

import click
import pytest

from streamcam import cli
from streamcam.cli.prompt import prompt
from tests.control.osc.running_server import STATUS, running_server


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    group = click.Group(commands={"prompt": prompt})
    code = cli._run(lambda **options: group.main(["prompt", *arguments], **options))
    return (code, *capsys.readouterr())


def test_it_changes_and_shows_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    with running_server(prompt="cat") as running:
        port = f"--port={running.server.port}"
        assert run(capsys, port) == (0, 'prompt: "cat"\n', "")
        assert run(capsys, port, "neon", "grün 3") == (0, 'prompt: "neon grün 3"\n', "")
        assert running.control.target.prompt == (("neon grün 3", 1.0),)
        assert run(capsys, port, "") == (0, 'prompt: ""\n', "")
        done = run(capsys, port, "oil", "--negative", "photo")
        assert done == (0, 'prompt: "oil"\nnegative prompt: "photo"\n', "")
        assert running.control.target.negative_prompt == (("photo", 1.0),)
        assert run(capsys, port, "--negative", "") == (0, 'negative prompt: ""\n', "")


def test_it_blends_and_fades(capsys: pytest.CaptureFixture[str]) -> None:
    with running_server(prompt="cat") as running:
        port = f"--port={running.server.port}"
        done = run(capsys, port, "oil", "--blend", "neon", "--share", "0.25", "--fade", "60")
        assert done == (0, 'prompt: "oil 75% + neon 25%", fading in over 60 s\n', "")
        assert running.control.target.prompt == (("oil", 0.75), ("neon", 0.25))
        assert dict(running.control.parameters.prompt)["cat"] > 0.5
        assert running.control.target.prompt_time == 0


def test_what_the_model_made_of_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    status = replace(STATUS, notice="understood as: neon")
    with running_server(lambda: status) as running:
        done = run(capsys, f"--port={running.server.port}", "neno")
        assert done == (0, 'prompt: "neno"\nunderstood as: neon\n', "")


def test_it_waits_until_the_model_has_read_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    old = replace(STATUS, notice="understood as: oil", prompt_read=False)
    statuses = iter([old, old])
    new = replace(STATUS, notice="understood as: neon")
    with running_server(lambda: next(statuses, new)) as running:
        done = run(capsys, f"--port={running.server.port}", "neno")
        assert done == (0, 'prompt: "neno"\nunderstood as: neon\n', "")


def test_while_the_model_loads_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    status = replace(STATUS, state="loading", prompt_read=False)
    with running_server(lambda: status) as running:
        code, out, _ = run(capsys, f"--port={running.server.port}", "neon")
        assert (code, out.splitlines()[1]) == (0, "the model is still loading, and reads it then")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--share", "0.5", "cat"], "a blend needs a text and --blend"),
        (["--blend", "cat"], "a blend needs a text and --blend"),
        (["--fade", "3"], "--fade needs a text"),
        (["cat", "--fade", "-1"], "0<=x<=600"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert text in err


def test_without_a_broadcast_it_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    with running_server() as running:
        port = f"--port={running.server.port}"
    code, out, err = run(capsys, port, "cat")
    assert (code, out) == (1, "")
    assert 'start one with "streamcam run"' in err


def test_a_refused_prompt_is_an_error_and_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running_server(prompt="cat") as running:
        code, _, err = run(capsys, f"--port={running.server.port}", '[["a", 0]]')
        assert code == 2
        assert "needs a weight above 0" in err
        assert running.control.target.prompt == (("cat", 1.0),)
