"""Every command prints to a terminal or pipe of any encoding, and replaces what that lacks."""

import io
import sys

import pytest

from streamcam import cli
from streamcam.cli import replace_unencodable
from streamcam.cli.osc import parse_argument
from streamcam.errors import ConfigError
from streamcam.settings.config_layers import build_config

ENCODINGS = ["ascii", "latin-1", "cp1252", "cp932", "utf-8"]
COMMANDS = [
    "osc list",
    "--help",
    "run --help",
    "models list",
    "devices",
    "doctor",
    "config show --set source=a猫\udce7",
    "config show 猫",
    "run --model 猫\udce7",
    "render pattern 猫.xyz --frames 1",
    "models path 猫",
    "run --猫",
]


class Terminal(io.TextIOWrapper):
    """A text stream as Python opens it, whose bytes can be read afterwards."""

    def __init__(self, encoding: str, errors: str) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, errors=errors, write_through=True)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_no_command_fails_for_a_character(
    encoding: str, errors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # So that no variable is set for later tests.
    for command in COMMANDS if errors == "strict" else COMMANDS[-6:]:
        out, err = Terminal(encoding, errors), Terminal(encoding, "backslashreplace")
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setattr(sys, "argv", ["streamcam", *command.split()])
        with pytest.raises(SystemExit):
            cli.main()
        printed = out.bytes.getvalue() + err.bytes.getvalue()
        assert printed, command
        if encoding != "ascii":  # Which click takes for a mistake, and prints UTF-8.
            printed.decode(encoding)


def test_stderr_keeps_its_escapes_unless_it_is_a_terminal() -> None:
    pipe = Terminal("ascii", "backslashreplace")
    replace_unencodable(pipe)
    pipe.write("a猫")
    assert pipe.bytes.getvalue() == rb"a\u732b"
    terminal = Terminal("ascii", "backslashreplace")
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    replace_unencodable(terminal)
    terminal.write("a猫")
    assert terminal.bytes.getvalue() == b"a?"


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_stream_without_an_encoding_is_left_alone(stream: object) -> None:
    replace_unencodable(stream)


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("猫".encode().decode("ascii", "surrogateescape"), "猫"),
        ("猫", "猫"),
    ],
)
def test_a_prompt_is_utf_8_whatever_the_locale_is(argument: str, text: str) -> None:
    assert build_config([{"prompt": argument}]).live.prompt == ((text, 1.0),)
    assert parse_argument(argument) == text


@pytest.mark.parametrize("argument", ["caf\udce9", "\ud83d"])
def test_a_prompt_that_is_no_utf_8_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match="prompt: "):
        build_config([{"prompt": argument}])
