"""Solo: of the numbers by name of a field one fades in, while all others fade to 0."""

from collections.abc import Callable, Sequence

from streamcam.control.messages import Argument
from streamcam.control.transaction import Transaction
from streamcam.control.values import parse_choice, parse_number
from streamcam.errors import ParameterError
from streamcam.settings.named_numbers import NamedNumbers
from streamcam.settings.number_range import Range
from streamcam.settings.parameters import NAMED_FIELDS, Parameters

OFF, SEVERAL = "off", ""
"""Value while all numbers are 0, which also sets them so, and while several are not."""
FULL = 1.0
"""Number of one that began at 0."""


def solo_choices(begun: NamedNumbers) -> tuple[str, ...]:
    """Return the words that a solo takes, given the names and their numbers at the start."""
    names = tuple(name for name, _ in begun)
    return (*names, OFF) if names and OFF not in names else names


def set_solo(name: str, begun: NamedNumbers) -> Callable[[Transaction, Sequence[Argument]], None]:
    """Return a setter of the field `name` from one of its names, and perhaps seconds of the fade.

    Args:
        name: of the field.
        begun: its names and their numbers at the start, which the one that is chosen gets.
    """
    choices = solo_choices(begun)
    numbers = {which: number or FULL for which, number in begun}
    setting = NAMED_FIELDS[name].named_by
    seconds = Range.of_field(Parameters.model_fields["prompt_time"])

    def setter(changes: Transaction, arguments: Sequence[Argument]) -> None:
        if not choices:
            raise ParameterError(f"none was given at start; name one with --set {setting}=…")
        if len(arguments) not in (1, 2):
            raise ParameterError(f"takes a name, and perhaps seconds: {' '.join(choices)}")
        chosen = parse_choice(arguments[:1], choices)
        over = changes["prompt_time"] if changes.preset is None else None
        if len(arguments) > 1:
            assert seconds
            over = seconds.clamp(parse_number(arguments[1:]))
            changes.clamped |= over != parse_number(arguments[1:])
        changes[name] = tuple(
            (which, numbers[which] if which == chosen else 0.0) for which, _ in changes[name]
        )
        changes.over = over if over is not None else changes.over

    return setter


def get_solo(name: str) -> Callable[[Parameters], tuple[Argument, ...]]:
    """Return a getter of the only name whose number is not 0, of `OFF` or of `SEVERAL`."""

    def getter(parameters: Parameters) -> tuple[Argument, ...]:
        numbers = getattr(parameters, name)
        active = [which for which, number in numbers if number]
        if len(active) == 1:
            return (active[0],)
        return (SEVERAL if active else OFF,) if numbers else ()

    return getter
