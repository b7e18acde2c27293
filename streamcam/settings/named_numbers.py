"""Numbers by name, such as the scale of every LoRA: live parameters of things named at start."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, get_args

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from streamcam.settings.base import from_json

MAX_NAME = 64
NOT_IN_ADDRESSES = re.compile(r"[^A-Za-z0-9_.+-]+")
"""Characters that no part of an OSC address should have."""
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".png", ".jpg", ".jpeg", ".webp")

NamedNumbers = tuple[tuple[str, float], ...]
"""Names and their numbers, in the order in which they were named at start."""


def parse_named_numbers(value: Any) -> Any:
    """Read ``{"a": 0.5}``, as a table or as JSON, or ``[["a", 0.5]]`` as names and numbers."""
    value = from_json(value)
    if isinstance(value, Mapping):
        return tuple(value.items())
    return value


AS_NAMED_NUMBERS = BeforeValidator(parse_named_numbers)
"""Marks the type of a field that holds numbers by name."""


def is_named_numbers(field: FieldInfo) -> bool:
    """Return whether `field` holds names and their numbers."""
    return any(item is AS_NAMED_NUMBERS for item in field.metadata)


def number_of(field: FieldInfo) -> FieldInfo:
    """Return the declaration of one of the numbers that `field` holds by name."""
    pair = get_args(field.annotation)[0]
    number: Any = get_args(pair)[1]
    return FieldInfo.from_annotation(number)


def short_names(items: Iterable[str]) -> dict[str, str]:
    """Return a short name for each path, address or hub id of `items`, no two the same.

    It is the last part without its suffix, in characters that an OSC address can have.
    """
    names: dict[str, str] = {}
    for item in items:
        last = PurePosixPath(item.replace("\\", "/").rstrip("/")).name
        stem = next((last.removesuffix(s) for s in SUFFIXES if last.lower().endswith(s)), last)
        name = NOT_IN_ADDRESSES.sub("_", stem)[:MAX_NAME].strip("_") or "unnamed"
        taken = set(names.values())
        number = 2
        while name in taken:
            name, number = f"{name.removesuffix(f'_{number - 1}')}_{number}", number + 1
        names[item] = name
    return names


def merged(numbers: NamedNumbers, changes: NamedNumbers) -> NamedNumbers:
    """Return `numbers` with those that `changes` names replaced, and those it adds at the end."""
    return tuple((dict(numbers) | dict(changes)).items())


def blended(before: NamedNumbers, after: NamedNumbers, t: float) -> NamedNumbers:
    """Return the numbers of `after`, `t` of the way from those of `before`."""
    start = dict(before)
    return tuple((name, (1 - t) * start.get(name, end) + t * end) for name, end in after)
