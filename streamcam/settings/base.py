"""Tables of settings: what `Parameters` and `Config` share, and the traits of their fields.

A field's type, range, description and traits stand in its declaration once; the flags,
``--set``, TOML, cues, OSC addresses and the docs all follow from it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from streamcam.errors import ConfigError, suggest
from streamcam.settings.layer import Place

MAX_SHOWN, MAX_MESSAGE, MAX_PROBLEMS = 80, 300, 5
"""Characters of a value in an error, of what is wrong with it, and problems that are listed."""


def _nowhere(_name: str) -> str:
    return ""


class Settings(BaseModel):
    """An immutable table of fields whose errors explain what was wrong."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @classmethod
    def parse(
        cls,
        values: Mapping[str, Any],
        error: type[ConfigError] = ConfigError,
        place: Place = _nowhere,
    ) -> Self:
        """Validate `values`; raise `error`, one line for all that is wrong and where it stands."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as problems:
            lines = [_explain(cls, problem, place) for problem in problems.errors()[:MAX_PROBLEMS]]
            more = problems.error_count() - len(lines)
            raise error("; ".join([*lines, *([f"and {more} more"] if more else [])])) from None
        except ConfigError as problem:  # Raised by a validator that compares several fields.
            raise type(problem)(_with_places(cls, str(problem), place)) from None


@dataclass(frozen=True, slots=True)
class Traits:
    """Facts about a field besides its type and range, as a part of its `Annotated` type."""

    flag: bool = False
    """It has a command-line flag of its own; ``--set`` takes every field."""
    bare: str = ""
    """Value of its flag where that is given without one."""
    repeatable: bool = False
    """Its flag may be given several times."""
    model_default: bool = False
    """The settings file in a model's folder may set it: how the model is best run."""
    fades: bool = False
    """A number or prompt that moves gradually during a fade; others change where it begins."""
    trigger: bool = False
    """A counter: raising it makes something happen once, so no preset holds it."""
    unit: str = ""
    """Of its numbers, as shown after them: ``s``, ``degrees``."""
    group: str = ""
    """Heading that it is listed under; those of live parameters are a performer's: Prompt, Look,
    Camera, Output, Safety."""
    usual: tuple[float, float] | None = None
    """Ends of the part of a number's range that a fader spans; the rest is reached by number."""
    spans_as: str = ""
    """Field whose fader a model may have given another span, which this one's then has too."""
    secret: bool = False
    """A password or token: no message, no log and no listing shows it."""
    named_by: str = ""
    """Setting, fixed at start, that names what its numbers are for; see `named_numbers`."""
    solo: str = ""
    """Address that takes one of such names: its number goes to where it began, the others to 0."""
    begins: float | None = None
    """Value of such numbers at the start; None for those that the naming setting gives."""
    needs: str = ""
    """Setting, fixed at start, without which it has no effect: the page then leaves it out."""
    aliases: tuple[str, ...] = ()
    """Other words that people type for its values."""
    choices: tuple[str, ...] = ()
    """Built-in words of a field that plugins add words to, and that is no `Literal` for that."""


def traits(field: FieldInfo) -> Traits:
    """Return the traits that `field` is declared with."""
    return next((item for item in field.metadata if isinstance(item, Traits)), Traits())


def accepted_names(table: type[Settings]) -> dict[str, str]:
    """Map every name that `table` accepts, aliases too, to its field's own name."""
    accepted: dict[str, str] = {}
    for name, field in table.model_fields.items():
        accepted[name] = name
        if isinstance(field.validation_alias, AliasChoices):
            accepted |= {str(alias): name for alias in field.validation_alias.choices}
    return accepted


def literal_values(field: FieldInfo) -> tuple[str, ...]:
    """Return the words that a field accepts: of its `Literal` type or its `choices` trait."""
    if listed := traits(field).choices:
        return listed
    return tuple(a for a in get_args(field.annotation) if isinstance(a, str))


def is_number(field: FieldInfo) -> bool:
    """Return whether a field holds a number, or may hold one."""
    kinds = set(get_args(field.annotation) or (field.annotation,))
    return kinds <= {int, float, type(None)}


def from_json(value: Any) -> Any:
    """Parse a list or table written as JSON; return anything else unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def as_utf8(text: str) -> str:
    """Return an argument as UTF-8 where the locale is none: Python then keeps its bytes apart."""
    try:
        return text.encode(errors="surrogateescape").decode()
    except UnicodeError:
        return text  # Which is refused, as it is no text.


def _explain(table: type[Settings], problem: Any, place: Place) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        return f'unknown setting "{name}": {suggest(name, accepted_names(table))}'
    message = _cut(str(problem["msg"]).removeprefix("Value error, "), MAX_MESSAGE)
    if problem["type"] == "literal_error":
        message += _nearest(table, name, problem)
    if not name:
        return _with_places(table, message, place)
    where = f" ({given})" if (given := place(name)) else ""
    is_secret = name in table.model_fields and traits(table.model_fields[name]).secret
    got = "" if is_secret else f", got {_shortened(problem['input'])}"
    return f"{name}: {message[0].lower()}{message[1:]}{got}{where}"


def _nearest(table: type[Settings], name: str, problem: Any) -> str:
    """Return a hint at the word that is nearest to the one given, in brackets; or nothing."""
    words = re.findall(r"'([^']+)'", problem["ctx"]["expected"])
    field = table.model_fields.get(name)
    hint = suggest(str(problem["input"])[:MAX_SHOWN], words, traits(field).aliases if field else ())
    return f" ({hint})" if hint.startswith("did you mean") else ""


def _with_places(table: type[Settings], message: str, place: Place) -> str:
    """Return `message` with the places of the fields that it names."""
    names = [name for name in dict.fromkeys(re.findall(r"\w+", message)) if _has(table, name)]
    places = "; ".join(f"{name}: {given}" for name in names if (given := place(name)))
    return f"{message} ({places})" if places else message


def _has(table: type[Settings], name: str) -> bool:
    """Return whether `name` is a field of `table` or of a table in it."""
    return name in table.model_fields or any(
        isinstance(field.annotation, type)
        and issubclass(field.annotation, Settings)
        and name in field.annotation.model_fields
        for field in table.model_fields.values()
    )


def _shortened(value: Any) -> str:
    try:
        shown = repr(value)
    except (RecursionError, ValueError):  # Nested too deeply, or a number of thousands of digits.
        shown = f"a {type(value).__name__} too long to show"
    return _cut(shown, MAX_SHOWN)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def as_table(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return names and values that were given one after another as a table.

    Raises:
        ValueError: one is named twice, so that a value would be lost.
    """
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"{name} is named twice; name it once")
        table[name] = value
    return table
