"""Types of the live parameters' values: weighted texts, places in the schedule, scales."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from streamcam.settings.base import as_utf8, from_json

MAX_PROMPT_BYTES = 1000
MAX_PROMPTS = 16


def _parse_prompt(value: Any) -> Any:
    value = from_json(value)
    if isinstance(value, str):
        return ((as_utf8(value), 1.0),)
    if isinstance(value, (list, tuple)):
        return tuple((item, 1.0) if isinstance(item, str) else item for item in value)
    return value


def _check_prompt(prompt: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    longest = max(len(text.encode()) for text, _ in prompt)
    if longest > MAX_PROMPT_BYTES:
        raise ValueError(f"a text takes at most {MAX_PROMPT_BYTES} bytes, not {longest}")
    if not any(weight for _, weight in prompt):
        raise ValueError("at least one prompt needs a weight above 0")
    return prompt


def parse_index_list(value: Any) -> Any:
    """Read ``32,45``, ``[32, 45]`` or a single number as a list of indices."""
    value = from_json(value)
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return [value] if isinstance(value, int) else value


Weight = Annotated[float, Field(ge=0, le=1000)]
WeightedTexts = tuple[tuple[str, Weight], ...]
Prompt = Annotated[
    WeightedTexts,
    BeforeValidator(_parse_prompt),
    Field(min_length=1, max_length=MAX_PROMPTS),
    AfterValidator(_check_prompt),
]
"""Texts and their weights. A bare text, or ``[["cat", 0.7], ["dog", 0.3]]``."""

Indices = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...],
    BeforeValidator(parse_index_list),
    Field(min_length=1, max_length=50),
]


def _check_timesteps(timesteps: tuple[int, ...]) -> tuple[int, ...]:
    if any(a <= b for a, b in pairwise(timesteps)):
        wanted = ",".join(map(str, sorted(set(timesteps), reverse=True)))
        raise ValueError(f"must descend, as in {wanted}")
    return timesteps


Timesteps = Annotated[
    tuple[Annotated[int, Field(ge=1, le=999)], ...],
    BeforeValidator(parse_index_list),
    Field(min_length=1, max_length=50),
    AfterValidator(_check_timesteps),
]
"""Timesteps of the training, of which there are 1000, noisiest first."""

LoraScale = Annotated[float, Field(ge=-10, le=10)]
ControlScale = Annotated[float, Field(ge=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
ImageScale = Annotated[float, Field(ge=-5, le=5)]

Easing = Literal["linear", "ease-in", "ease-out", "ease-in-out"]
"""The pace of a fade from its beginning to its end."""


def is_prompt(field: FieldInfo) -> bool:
    """Return whether `field` holds texts with weights."""
    return field.annotation == WeightedTexts
