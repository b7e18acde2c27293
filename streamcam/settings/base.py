"""Tables of settings: what `Parameters` and `Config` share, and the traits of their fields.

A field's type, range, description and traits stand in its declaration once; the flags,
``--set``, TOML, cues, OSC addresses and the docs all follow from it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from streamcam.errors import ConfigError, suggest


class Settings(BaseModel):
    """An immutable table of fields whose errors explain what was wrong."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any], error: type[ConfigError] = ConfigError) -> Self:
        """Validate `values`; raise `error`, one line for all that is wrong."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as problems:
            raise error("; ".join(_explain(cls, p) for p in problems.errors())) from None


@dataclass(frozen=True, slots=True)
class Traits:
    """Facts about a field besides its type and range, as a part of its `Annotated` type."""

    flag: bool = False
    """It has a command-line flag of its own; ``--set`` takes every field."""
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
    """Heading that it is listed under."""
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


def from_json(value: Any) -> Any:
    """Parse a list or table written as JSON; return anything else unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _explain(table: type[Settings], problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        return f'unknown setting "{name}": {suggest(name, accepted_names(table))}'
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not name:
        return message
    return f"{name}: {message[0].lower()}{message[1:]}, got {_shortened(problem['input'])}"


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
