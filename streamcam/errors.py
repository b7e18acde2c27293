"""Errors that streamcam raises on purpose, each a message of one line with the remedy.

Raise them where the cause is known. Only ``cli`` prints them and exits; every other exception is
a bug and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from unicodedata import category

from streamcam.redaction import redacted

MAX_SHOWN = 80
"""Characters of a text that a message shows."""


class StreamcamError(Exception):
    """An error that the user can fix; the message says how, without passwords of URLs."""

    exit_code = 1

    def __str__(self) -> str:
        return redacted(super().__str__())


class ConfigError(StreamcamError):
    """A setting is unknown, out of range or contradicts another."""

    exit_code = 2


class ParameterError(ConfigError):
    """A live parameter is unknown, out of range or cannot change while the model runs."""


class PromptError(ParameterError):
    """A text that the model cannot encode; it runs on with the texts before."""

    def __init__(self, text: str, why: str) -> None:
        shown = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
        super().__init__(f'the prompt "{shown}" cannot be encoded: {why}')
        self.text, self.why = text, why


class ModelError(StreamcamError):
    """A model, LoRA or VAE is missing, damaged or does not fit."""


class MediaError(StreamcamError):
    """A file to read or write is missing, unreadable, empty or cannot be written."""


class DeviceError(StreamcamError):
    """A camera, virtual camera or port is missing, busy, refused or gone."""


class EngineError(StreamcamError):
    """The engine could not be started."""


MAX_LISTED = 24
JOINERS = "\u200c\u200d"
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of Unicode: control, format, half a character, ends of lines and paragraphs."""


def suggest(name: str, known: Iterable[str], aliases: Iterable[str] = ()) -> str:
    """Return a hint with the word nearest to `name`, or a list of the known ones.

    Args:
        name: what was given.
        known: the words that it could have been.
        aliases: further names that are taken too; they are in no list.
    """
    known = sorted(known)
    if match := get_close_matches(name, [*known, *aliases], n=1, cutoff=0.5):
        return f'did you mean "{match[0]}"?'
    if len(known) <= MAX_LISTED:
        return f"known: {', '.join(known)}"
    return f"among those known: {', '.join(get_close_matches(name, known, n=8, cutoff=0))}"


def printable(text: str, keep: str = "") -> str:
    """Return `text` with all that could move a cursor or turn the writing round as ``\\u202e``.

    These are the control characters (C0 and C1), line and paragraph separators, and the invisible
    ones that change the direction of what follows; joiners within emoji and words stay.
    """
    return "".join(c if c.isprintable() or c in keep else _shown(c) for c in text)


def _shown(character: str) -> str:
    if category(character) not in UNSEEN or character in JOINERS:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(error: BaseException) -> str:
    """Return the first two lines of the message of `error` as one line, 300 characters at most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300].rstrip(" .") if lines else type(error).__name__
