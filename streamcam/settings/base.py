"""What `Parameters` and `Config` share: tables of fields, each declared once.

A field's type, range, unit and description stand in its declaration; the flags,
``--set``, TOML, cues and the docs all follow from it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Self, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from streamcam.errors import ConfigError, suggest


class Settings(BaseModel):
    """An immutable table of fields that explains what it refuses."""

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


def names(table: type[Settings]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield every field, under its own name and under each name users know it by."""
    for name, field in table.model_fields.items():
        yield name, field
        if isinstance(field.validation_alias, AliasChoices):
            for alias in field.validation_alias.choices:
                if alias != name:
                    yield str(alias), field


def canonical(table: type[Settings]) -> dict[str, str]:
    """Map every accepted name to its field's own name."""
    own = {id(field): name for name, field in table.model_fields.items()}
    return {name: own[id(field)] for name, field in names(table)}


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the words an enumerated field accepts, or nothing.

    A field whose words are not a Literal, since plugins add some, lists its own as ``choices``.
    """
    extra = field.json_schema_extra
    if isinstance(extra, dict) and isinstance(listed := extra.get("choices"), list):
        return tuple(map(str, listed))
    return tuple(a for a in get_args(field.annotation) if isinstance(a, str))


def from_json(value: Any) -> Any:
    """Read a list or table written as JSON; anything else comes back untouched."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _explain(table: type[Settings], problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        return f'unknown setting "{name}": {suggest(name, (n for n, _ in names(table)))}'
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not name:
        return message
    return f"{name}: {message[0].lower()}{message[1:]}, got {_short(problem['input'])}"


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
