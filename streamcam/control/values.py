"""Argument values: any kind of number, word or text that clients send."""

import math
from collections.abc import Sequence
from contextlib import suppress
from unicodedata import normalize

import numpy as np

from streamcam.control.messages import Argument
from streamcam.errors import ParameterError, suggest

FLOAT32_MAX = 3.4e38
WORDS = {"on": 1.0, "true": 1.0, "yes": 1.0, "off": 0.0, "false": 0.0, "no": 0.0}


def parse_number(arguments: Sequence[Argument]) -> float:
    """Return the first argument as a number: i h f d T F N I or a numeric text.

    Raises:
        ParameterError: there is none, or it is not finite.
    """
    if not arguments:
        raise ParameterError("takes a number")
    argument = arguments[0]
    if (
        isinstance(argument, float)
        and abs(argument) < FLOAT32_MAX
        and np.float32(argument) == argument
    ):
        # 1.2 sent as float32 is 1.2000000476837158; the shortest number that equals it was meant.
        argument = float(str(np.float32(argument)))
    try:
        value = _to_number(argument)
        finite = math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        # Within JSON there may be lists, and whole numbers of any length.
        raise ParameterError(f"takes a number, got {argument!r:.40}") from None
    if not finite:
        raise ParameterError(f"takes a finite number, got {value}")
    return value


def _to_number(argument: Argument) -> float:
    if argument is None:
        return 0
    if isinstance(argument, str):
        # Whole numbers beyond 2^53 keep their last digits.
        whole = argument.strip().isdecimal() and len(argument) < 20
        return int(argument) if whole else float(argument)
    return argument


def parse_flag(arguments: Sequence[Argument]) -> bool:
    """Return whether the first argument switches on; no argument does too."""
    if not arguments:
        return True
    if isinstance(arguments[0], str) and arguments[0].lower() in WORDS:
        return WORDS[arguments[0].lower()] >= 0.5
    return parse_number(arguments) >= 0.5


def parse_choice(arguments: Sequence[Argument], choices: Sequence[str]) -> str:
    """Return the choice of that name, or the one at that index.

    Raises:
        ParameterError: there is none; the nearest one is not what was meant.
    """
    if not choices:
        raise ParameterError("there is nothing to choose from")
    # Some keyboards send an accent apart from its letter.
    name = normalize("NFC", str(arguments[0])).strip() if arguments else ""
    if arguments and isinstance(arguments[0], float) and arguments[0].is_integer():
        name = str(int(arguments[0]))
    if name in choices:
        return name
    with suppress(ParameterError, IndexError):
        return choices[parse_index(arguments)]
    raise ParameterError(f'has no "{name:.40}": {suggest(name, choices)}')


def parse_index(arguments: Sequence[Argument]) -> int:
    """Return the first argument as a whole number from 0; raise ParameterError if it is none."""
    number = parse_number(arguments)
    if arguments[0] is None or isinstance(arguments[0], bool) or number < 0 or number % 1:
        raise ParameterError(f"takes an index from 0, got {arguments[0]!r:.40}")
    return int(number)


def parse_text(arguments: Sequence[Argument]) -> str:
    """Return the arguments joined with spaces; raise ParameterError if there are none."""
    if not arguments:
        raise ParameterError('takes a text; an empty one, "", clears it')
    return " ".join(
        f"{a:.7g}" if isinstance(a, float) else str(a) for a in arguments if a is not None
    )
