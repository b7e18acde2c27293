"""``streamcam osc`` with a server, and without one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import click
import pytest

from streamcam import cli
from streamcam.cli.osc import as_line, osc, parse_argument
from streamcam.control.messages import Message
from streamcam.settings.parameters import Parameters
from streamcam.version import __version__
from tests.control.osc.running_server import RunningServer, running_server


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run one command line; return its exit code, what it printed and its errors."""
    group = click.Group(commands={"osc": osc})
    code = cli._run(lambda **options: group.main(["osc", *arguments], **options))
    return (code, *capsys.readouterr())


def port(running: RunningServer) -> str:
    return f"--port={running.server.port}"


def test_the_list_holds_every_field_with_its_range(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert all(f"/streamcam/{name} " in out for name in Parameters.model_fields)
    line = next(line for line in out.splitlines() if line.startswith("/streamcam/guidance_scale "))
    about = "How strongly the prompt guides the image; 1 is neutral."
    assert (
        " ".join(line.split())
        == f"/streamcam/guidance_scale both number 0 – 30; fader 0 – 4 {about}"
    )


def test_the_list_comes_as_json_with_prefix_and_aliases(capsys: pytest.CaptureFixture[str]) -> None:
    alias = 'osc_alias={"/layer1/opacity": "/mix/norm"}'
    _, out, _ = run(capsys, "list", "--json", "--set", "osc_prefix=/vj", "--set", alias)
    listed = json.loads(out)
    assert listed["aliases"]["/layer1/opacity"] == "/vj/mix/norm"
    mix = next(row for row in listed["addresses"] if row["address"] == "/vj/mix")
    assert (mix["direction"], mix["types"], mix["values"]) == ("both", "number", "0 – 1")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3", 3),
        ("-3", -3),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-1e-3", -0.001),
        (str(2**62), 2**62),
        (str(2**63), float(2**63)),
        ("nan", "nan"),
        ("neon", "neon"),
        ("1 2", "1 2"),
        ("", ""),
    ],
)
def test_arguments_that_look_like_numbers_are_sent_as_numbers(text: str, wanted: object) -> None:
    assert (parse_argument(text), type(parse_argument(text))) == (wanted, type(wanted))


def test_send_shows_the_new_value(capsys: pytest.CaptureFixture[str]) -> None:
    with running_server() as running:
        done = run(capsys, "send", port(running), "guidance_scale", "35")
        assert done == (0, "/streamcam/guidance_scale 30\n", "")
        done = run(capsys, "send", port(running), "/prompt", "neon", "cat")
        assert done == (0, '/streamcam/prompt "neon cat"\n', "")
        assert running.control.target.prompt == (("neon cat", 1.0),)
        assert run(capsys, "send", port(running), "similarity/threshold", "-0.5")[0] == 0
        assert running.control.target.similar_image_filter_threshold == -0.5
        assert run(capsys, "send", port(running), "reset") == (0, "", "")
        assert running.control.target.reset == 1


def test_nothing_is_changed_silently(capsys: pytest.CaptureFixture[str]) -> None:
    with running_server() as running:
        code, out, err = run(capsys, "send", port(running), "rotate", "45")
        assert (code, out) == (2, "")
        assert "known: 0, 180, 270, 90" in err
        assert run(capsys, "send", port(running), "rotate", "1") == (
            0,
            '/streamcam/rotate "90"\n',
            "",
        )
        code, out, err = run(capsys, "send", port(running), "prompt", "x" * 1001)
        assert (code, len(out)) == (0, len('/streamcam/prompt ""\n') + 1000)
        assert "1000 bytes" in err
        # These have no value to show, which would tell it.
        for beyond in ("blend_t 1.5", "prompt/blend sun moon -1", "seed_list [[-1,1]]"):
            code, out, err = run(capsys, "send", port(running), *beyond.split())
            assert (code, out) == (0, "")
            assert "beyond its range; the nearest value was taken" in err
            assert run(capsys, "send", port(running), "blend_t", "0.5")[2] == ""


def test_only_an_empty_text_clears_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    with running_server(prompt="cat") as running:
        code, out, err = run(capsys, "send", port(running), "prompt")
        assert (code, out) == (2, "")
        assert 'an empty one, "", clears it' in err
        assert running.control.target.prompt == (("cat", 1.0),)
        done = run(capsys, "send", port(running), "prompt", "")
        assert done == (0, '/streamcam/prompt ""\n', "")
        assert running.control.target.prompt == (("", 1.0),)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("snapshot", []),
        ("blend_t 0.5", []),
        ("seed/random", []),
        ("/pause", []),
        ("ping", [f'/streamcam/pong "{__version__}"']),
        ("get mix", ["/streamcam/mix 1"]),
        ("sync", ["/streamcam/mix 1", "/streamcam/seed 2"]),
        ("unsubscribe", []),
    ],
)
def test_answers_are_shown_and_the_broadcast_logs_nothing(
    capsys: pytest.CaptureFixture[str], sent: str, shown: list[str]
) -> None:
    with running_server() as running:
        code, out, err = run(capsys, "send", port(running), *sent.split())
        assert (code, err, running.reports) == (0, "", [])
        assert set(shown) <= set(out.splitlines())
        assert bool(shown) is bool(out)


def test_get_shows_values_and_figures(capsys: pytest.CaptureFixture[str]) -> None:
    with running_server(prompt="cat") as running:
        done = run(capsys, "get", port(running), "prompt", "/streamcam/mix", "stat/fps")
        lines = ['/streamcam/prompt "cat"', "/streamcam/mix 1", "/streamcam/stat/fps 24.5"]
        assert done == (0, "\n".join([*lines, ""]), "")
        code, out, err = run(capsys, "get", port(running))
        assert (code, err) == (0, "")
        assert {'/streamcam/prompt "cat"', "/streamcam/seed 2"} <= set(out.splitlines())
        assert "/norm" not in out
        assert "/stat/" not in out
        code, out, err = run(capsys, "get", port(running), "guidance_scal")
        assert (code, out) == (2, "")
        assert '"guidance_scal" has no value to send' in err
        assert running.reports == []


def test_everything_is_shown_from_another_machine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcam.control.osc.amplification.is_this_machine", lambda _host: False)
    with running_server(prompt="cat " * 200) as running:
        code, out, _ = run(capsys, "get", port(running))
        assert code == 0
        assert len(out.splitlines()) > 30
        assert f'/streamcam/prompt "{"cat " * 200}"' in out.splitlines()


def test_send_reports_a_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    with running_server() as running:
        code, out, err = run(capsys, "send", port(running), "guidance_scal", "3")
        assert (code, out) == (2, "")
        assert "is unknown" in err
        assert 'did you mean "/streamcam/guidance_scale"?' in err
        assert run(capsys, "send", port(running), "seed", "many")[0] == 2


def test_send_reports_that_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        unused = free.getsockname()[1]
    code, _, err = run(capsys, "send", f"--port={unused}", "seed", "3")
    assert code == 1
    assert f"127.0.0.1:{unused}" in err
    code, _, err = run(capsys, "send", "--host=no such host.invalid", "seed", "3")
    assert code == 1
    assert "cannot reach" in err


def test_send_reports_that_nobody_answers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcam.cli.osc_client.ANSWER_TIMEOUT", 0.3)
    with running_server() as running:
        code, _, err = run(capsys, "send", port(running), "--prefix=/other", "seed", "3")
    assert code == 1
    assert "no answer" in err
    assert "--prefix" in err


def test_monitor_shows_all_values_then_changes_and_ends_with_ctrl_c() -> None:
    script = (
        "import click, sys; from streamcam import cli; from streamcam.cli.osc import osc;"
        " sys.exit(cli._run(click.Group(commands={'osc': osc}).main))"
    )
    with running_server() as running:
        command = [sys.executable, "-u", "-c", script, "osc", "monitor", port(running)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUTF8": "1"}
        ) as watching:
            assert watching.stdout is not None
            seen: list[str] = []
            while not any("/stat/state" in line for line in seen):
                seen.append(watching.stdout.readline())
            running.control.change({"prompt": "grün", "guidance_scale": 2.5})
            while not any("guidance_scale 2.5" in line for line in seen):
                seen.append(watching.stdout.readline())
            watching.send_signal(signal.SIGINT)
            assert watching.wait(10) == 0
        assert '/streamcam/prompt "grün"\n' in seen
        assert '/streamcam/stat/state "running"\n' in seen
        end = time.monotonic() + 5
        while len(running.server._subscribers) and time.monotonic() < end:
            time.sleep(0.01)
        assert len(running.server._subscribers) == 0


def test_monitor_reports_that_nobody_answers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcam.cli.osc_client.ANSWER_TIMEOUT", 0.2)
    with running_server(osc_allow="10.0.0.0/8") as running:
        code, _, err = run(capsys, "monitor", port(running))
    assert code == 1
    assert "no answer" in err


def test_a_message_is_shown_as_one_line() -> None:
    line = as_line(Message("/a", (1.2000000476837158, 3, "two\nlines \x1b[2J", None)))
    assert line == '/a 1.2 3 "two\\nlines \\u001b[2J" null'


@pytest.mark.parametrize("text", ["\x9b2J", "\u202ecod.exe", "\u2066", "\u2028", "\ud800", "\x7f"])
def test_no_message_moves_the_cursor_or_turns_the_writing_round(text: str) -> None:
    escaped = f"\\u{ord(text[0]):04x}{text[1:]}"
    assert as_line(Message(f"/{text}", (text, "日本語\u3000é 👩\u200d🎨"))) == (
        f'/{escaped} "{escaped}" "日本語\u3000é 👩\u200d🎨"'
    )
