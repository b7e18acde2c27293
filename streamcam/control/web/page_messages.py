"""Messages of a page, read and checked: JSON of known types with short, plain arguments."""

import json
from typing import Any, NamedTuple

from streamcam.control.messages import Message

MAX_MESSAGES = 256
"""Messages in one packet."""
MAX_ADDRESS = 200
"""Characters of an address."""
MAX_SHOWN = 40
"""Characters of what a client has sent that an answer repeats."""


class PageError(ValueError):
    """Fault of a message of a page, in one line."""


class Packet(NamedTuple):
    """Messages that a page wants applied as one."""

    id: int | str | None
    """Chosen by the page, and repeated in the reply."""
    messages: list[Message]


def read_page_message(text: str | bytes | None) -> Packet:
    """Return what a page has sent.

    Raises:
        PageError: it is no JSON, or of no known type, or its messages are none.
    """
    if not isinstance(text, str):
        raise PageError("messages are text, in JSON")
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except PageError:
        raise
    except (ValueError, RecursionError):
        raise PageError(f"is no JSON: {text:.{MAX_SHOWN}}") from None
    if not isinstance(found, dict):
        raise PageError("takes an object with a type")
    if found.get("type") != "send":
        raise PageError(f'has no known type: {found.get("type")!r:.{MAX_SHOWN}}; known is "send"')
    id_ = found.get("id")
    if not isinstance(id_, int | str | None) or len(str(id_)) > MAX_SHOWN:
        raise PageError("has an id that is neither a number nor a short text")
    return Packet(id_, _messages(found.get("messages")))


def _messages(found: Any) -> list[Message]:
    if not isinstance(found, list) or len(found) > MAX_MESSAGES:
        raise PageError(f"takes a list of at most {MAX_MESSAGES} messages")
    return [_message(item) for item in found]


def _message(item: Any) -> Message:
    if not isinstance(item, list) or not item or not isinstance(item[0], str):
        raise PageError('takes messages such as ["/streamcam/strength", 0.4]')
    address, *arguments = item
    if len(address) > MAX_ADDRESS:
        raise PageError(f"takes addresses of at most {MAX_ADDRESS} characters")
    if not all(isinstance(argument, int | float | str | None) for argument in arguments):
        raise PageError(f"{address:.{MAX_SHOWN}} takes numbers and texts")
    return Message(address, tuple(arguments))


def _refuse_constant(constant: str) -> float:
    raise PageError(f"holds {constant}, which is no number")
