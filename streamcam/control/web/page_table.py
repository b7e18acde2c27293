"""Table of everything that the page shows and changes, made from the fields of `Parameters`."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from streamcam.control.addresses import SLOTS, Address
from streamcam.control.messages import Argument
from streamcam.control.solo import solo_choices
from streamcam.control.surface import ControlSurface
from streamcam.settings.base import literal_values, traits
from streamcam.settings.named_numbers import is_named_numbers
from streamcam.settings.number_range import Range
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import is_prompt

EXTRAS = {
    **{f"prompt/{slot}/text": ("text", "Prompt") for slot in SLOTS},
    **{f"prompt/{slot}/weight": ("number", "Prompt") for slot in SLOTS},
    "seed/random": ("trigger", "Look"),
    "preset/load": ("choice", "Presets"),
    "preset/next": ("trigger", "Presets"),
    "preset/prev": ("trigger", "Presets"),
    "preset/refresh": ("trigger", "Presets"),
}
"""Addresses on the page that are no fields: their kinds and groups."""
NOT_IN_USE: tuple[Any, ...] = (None, "off", "auto", {})
"""Values of a setting that a parameter needs, with which that has no effect."""
MAX_EXACT = 2**53
"""Whole numbers beyond it lose their last digits in a browser, so they are sent as text."""

Row = dict[str, Any]


def page_table(surface: ControlSurface) -> list[Row]:
    """Return a row for every parameter, the other addresses of the page, and every command.

    Commands that nothing is bound to are left out, as nobody can run them.
    """
    return [*_field_rows(surface), *_extra_rows(surface), *_command_rows(surface)]


def shown(arguments: Sequence[Argument]) -> list[Argument]:
    """Return `arguments` as a browser can read them."""
    return [
        str(value) if type(value) is int and abs(value) > MAX_EXACT else value
        for value in arguments
    ]


def _field_rows(surface: ControlSurface) -> Iterator[Row]:
    for name, field in Parameters.model_fields.items():
        needed = traits(field).needs
        if needed and getattr(surface.config, needed) in NOT_IN_USE:
            continue
        if is_named_numbers(field):
            yield from _named_rows(surface, name, field)
            continue
        full = f"{surface.prefix}/{name}"
        address = surface.addresses.known[full]
        yield {
            **_row(name, full, kind_of(name, field), traits(field).group, address),
            "unit": traits(field).unit,
            "fades": traits(field).fades,
            "choices": list(literal_values(field)),
            "default": _default(surface, address),
            **_limits(name, field, address),
        }


def _named_rows(surface: ControlSurface, name: str, field: FieldInfo) -> Iterator[Row]:
    """Yield a row for each of the numbers that the field `name` holds by name, and for a solo."""
    range_, begun = Range.of_each(field), getattr(surface.config.live, name)
    if (solo := traits(field).solo) and len(begun) > 1:
        address = surface.addresses.known[f"{surface.prefix}/{solo}"]
        yield {
            **_row(solo, f"{surface.prefix}/{solo}", "choice", traits(field).group, address),
            "choices": list(solo_choices(begun)),
            "default": _default(surface, address),
        }
    for below, (owner, _) in surface.addresses.named.items():
        if owner == name:
            full = f"{surface.prefix}/{below}"
            address = surface.addresses.known[full]
            yield {
                **_row(below, full, "number", traits(field).group, address),
                "unit": traits(field).unit,
                "fades": traits(field).fades,
                "choices": [],
                "default": _default(surface, address),
                "low": range_.low,
                "high": range_.high,
                "fader": list(address.fader or ()),
            }


def kind_of(name: str, field: FieldInfo) -> str:
    """Return which control a field takes: number, whole, flag, choice, prompt, indices, trigger."""
    if traits(field).trigger:
        return "trigger"
    if is_prompt(field):
        return "prompt"
    if name == "t_index_list":
        return "indices"
    if literal_values(field):
        return "choice"
    if field.annotation is bool:
        return "flag"
    range_ = Range.of_field(field)
    return "whole" if range_ and range_.whole else "number"


def _limits(name: str, field: FieldInfo, address: Address) -> Row:
    """Return the range of a number, and the part of it that a fader spans."""
    range_ = Range.of_field(field)
    if kind_of(name, field) not in ("number", "whole") or range_ is None:
        return {}
    low, high = shown(range_[:2])
    return {"low": low, "high": high, "fader": list(address.fader or ())}


def _extra_rows(surface: ControlSurface) -> Iterator[Row]:
    for name, (kind, group) in EXTRAS.items():
        full = f"{surface.prefix}/{name}"
        address = surface.addresses.known[full]
        row = _row(name, full, kind, group, address) | {"default": _default(surface, address)}
        if kind == "number":
            row |= {"low": 0, "high": 1000, "fader": [0, 1]}
        yield row


def _command_rows(surface: ControlSurface) -> Iterator[Row]:
    for full, name in surface.addresses.commands.items():
        if not surface.commands.is_bound(name):
            continue
        command = surface.commands.declared[name]
        kind = "trigger" if command.trigger else "command"
        row = _row(name, full, kind, name.partition("/")[0].capitalize(), command)
        row["read_only"] = command.read_only
        if command.choices:
            row["choices"] = list(command.choices)
        if command.fader:
            row["fader"] = list(command.fader)
        yield row


def _row(name: str, address: str, kind: str, group: str, about: Any) -> Row:
    return {
        "name": name,
        "address": address,
        "kind": kind,
        "group": group,
        "types": about.types,
        "values": about.values,
        "description": about.description,
    }


def _default(surface: ControlSurface, address: Address) -> list[Argument]:
    """Return the value that the broadcast began with, as arguments; none if it has no value."""
    return shown(address.get(surface.config.live)) if address.get else []
