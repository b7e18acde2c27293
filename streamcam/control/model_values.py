"""Live values that the model reads, one by one: those that it cannot run with are refused."""

from typing import Any

from streamcam.settings.base import traits
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import is_prompt

MODEL_GROUPS = ("Prompt", "Look")
NOT_READ = ("prompt_time", "preset_time")
"""Fields of those groups that only a fade reads."""

MODEL_FIELDS = tuple(
    name
    for name, field in Parameters.model_fields.items()
    if traits(field).group in MODEL_GROUPS and not traits(field).trigger and name not in NOT_READ
)

Item = tuple[str, Any]
"""Name of a field and its value; of a prompt, each of its texts."""


def items_of(parameters: Parameters) -> set[Item]:
    """Return the values in `parameters` that the model reads."""
    items: set[Item] = set()
    for name in MODEL_FIELDS:
        value = getattr(parameters, name)
        if is_prompt(Parameters.model_fields[name]):
            items |= {(name, text) for text, weight in value if weight}
        else:
            items.add((name, value))
    return items


def items_of_text(text: str) -> set[Item]:
    """Return the items of a text in any prompt."""
    return {(name, text) for name in MODEL_FIELDS if is_prompt(Parameters.model_fields[name])}


def with_values_of(parameters: Parameters, other: Parameters) -> Parameters:
    """Return `parameters` with the values of `other` where the model reads them."""
    return parameters.model_copy(update={name: getattr(other, name) for name in MODEL_FIELDS})
