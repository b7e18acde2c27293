"""Messages: an address and its arguments, whichever protocol they came by."""

from typing import NamedTuple

Argument = int | float | str | bool | None


class Message(NamedTuple):
    """An address and the arguments sent to it."""

    address: str
    arguments: tuple[Argument, ...] = ()
