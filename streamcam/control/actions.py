"""Actions of the addresses: setters change a transaction, getters read a snapshot."""

import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from streamcam.control.messages import Argument
from streamcam.control.transaction import Transaction
from streamcam.control.values import (
    parse_choice,
    parse_flag,
    parse_index,
    parse_number,
    parse_text,
)
from streamcam.errors import ParameterError
from streamcam.settings.base import from_json
from streamcam.settings.named_numbers import merged
from streamcam.settings.number_range import Range
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import MAX_PROMPT_BYTES, Prompt

Arguments = Sequence[Argument]
Setter = Callable[[Transaction, Arguments], None]
Getter = Callable[[Parameters], tuple[Argument, ...]]
"""Returns the value in a snapshot as arguments, none if it is not set."""

WEIGHT = Range(0, 1000)
SHARE = Range(0, 1)
LAST_SLOT = 3
EMPTY_SLOT = ("", 0.0)


def set_number(name: str, range_: Range) -> Setter:
    def setter(changes: Transaction, arguments: Arguments) -> None:
        changes[name] = _clamped(changes, parse_number(arguments), _allowed(name, range_, changes))

    return setter


def set_norm(name: str, range_: Range) -> Setter:
    def setter(changes: Transaction, arguments: Arguments) -> None:
        share = _clamped(changes, parse_number(arguments), SHARE)
        value = range_.fader.from_norm(share)
        changes[name] = _clamped(changes, value, _allowed(name, range_, changes))

    return setter


def get_norm(name: str, range_: Range) -> Getter:
    def getter(parameters: Parameters) -> tuple[Argument, ...]:
        value = getattr(parameters, name)
        return () if value is None else (float(range_.fader.to_norm(value)),)

    return getter


def set_named(name: str, range_: Range) -> Setter:
    """Return a setter of numbers by name, from pairs of a name and a number."""

    def setter(changes: Transaction, arguments: Arguments) -> None:
        if not arguments or len(arguments) % 2:
            raise ParameterError("takes names, each with a number after it")
        for which, number in zip(arguments[::2], arguments[1::2], strict=True):
            set_one_named(name, str(which), range_)(changes, [number])

    return setter


def get_named(name: str) -> Getter:
    return lambda parameters: tuple(part for pair in getattr(parameters, name) for part in pair)


def set_one_named(name: str, which: str, range_: Range) -> Setter:
    """Return a setter of the number of the name `which`."""

    def setter(changes: Transaction, arguments: Arguments) -> None:
        value = _clamped(changes, parse_number(arguments), range_)
        changes[name] = merged(changes[name], ((which, float(value)),))

    return setter


def set_one_named_norm(name: str, which: str, range_: Range) -> Setter:
    """Return a setter of the number of the name `which`, from 0 to 1 over what a fader spans."""

    def setter(changes: Transaction, arguments: Arguments) -> None:
        share = _clamped(changes, parse_number(arguments), SHARE)
        changes[name] = merged(changes[name], ((which, range_.fader.from_norm(share)),))

    return setter


def get_one_named(name: str, which: str) -> Getter:
    def getter(parameters: Parameters) -> tuple[Argument, ...]:
        value = dict(getattr(parameters, name)).get(which)
        return () if value is None else (value,)

    return getter


def get_one_named_norm(name: str, which: str, range_: Range) -> Getter:
    """Return a getter of the number of the name `which`, as a share of what a fader spans."""

    def getter(parameters: Parameters) -> tuple[Argument, ...]:
        value = dict(getattr(parameters, name)).get(which)
        return () if value is None else (float(range_.fader.to_norm(value)),)

    return getter


def set_flag(name: str, *, inverted: bool = False) -> Setter:
    def setter(changes: Transaction, arguments: Arguments) -> None:
        changes[name] = parse_flag(arguments) is not inverted

    return setter


def set_choice(name: str, choices: Sequence[str]) -> Setter:
    def setter(changes: Transaction, arguments: Arguments) -> None:
        changes[name] = parse_choice(arguments, choices)

    return setter


def get_value(name: str) -> Getter:
    def getter(parameters: Parameters) -> tuple[Argument, ...]:
        value = getattr(parameters, name)
        if value is None:
            return ()
        return value if isinstance(value, tuple) else (value,)

    return getter


def count_up(name: str) -> Setter:
    def setter(changes: Transaction, _arguments: Arguments) -> None:
        changes[name] = changes[name] + 1

    return setter


def set_indices(changes: Transaction, arguments: Arguments) -> None:
    """Set ``t_index_list`` from several numbers, or from a text such as ``32,45``."""
    indices: Any = arguments
    if len(arguments) == 1 and isinstance(arguments[0], str):
        parsed = from_json(arguments[0])
        indices = parsed.split(",") if isinstance(parsed, str) else parsed
    if not isinstance(indices, Sequence) or not indices:
        raise ParameterError("takes the indices of the steps, such as 32 45")
    range_ = Range(0, changes["num_inference_steps"] - 1, whole=True)
    changes["t_index_list"] = tuple(
        _clamped(changes, parse_number([index]), range_) for index in indices
    )


def set_prompt(name: str) -> Setter:
    def setter(changes: Transaction, arguments: Arguments) -> None:
        # A list of texts as JSON may be longer than one text, and is checked by the field.
        parsed = from_json(arguments[0]) if len(arguments) == 1 else None
        if isinstance(parsed, list):
            changes[name] = _parse_prompt(parsed)
        else:
            changes[name] = ((_prompt_text(changes, arguments), 1.0),)

    return setter


def set_prompt_over(changes: Transaction, arguments: Arguments) -> None:
    """Set the prompt from texts; the last argument is the seconds of the fade."""
    if len(arguments) < 2:
        raise ParameterError('takes a text and seconds, such as "oil painting" 4')
    range_ = Range.of_field(Parameters.model_fields["prompt_time"])
    seconds = parse_number(arguments[-1:])
    set_prompt("prompt")(changes, arguments[:-1])
    changes.over = _clamped(changes, seconds, range_) if range_ else seconds


def get_prompt(name: str) -> Getter:
    def getter(parameters: Parameters) -> tuple[Argument, ...]:
        prompt = getattr(parameters, name)
        if len(prompt) == 1:
            return (prompt[0][0],)
        return (json.dumps([list(item) for item in prompt], ensure_ascii=False),)

    return getter


def set_prompt_list(changes: Transaction, arguments: Arguments) -> None:
    changes["prompt"] = _parse_prompt(_parse_list(arguments, '[["a cat", 0.7], ["a dog", 0.3]]'))


def set_slot_text(slot: int) -> Setter:
    def setter(changes: Transaction, arguments: Arguments) -> None:
        slots = _slots(changes, slot)
        slots[slot] = (_prompt_text(changes, arguments), slots[slot][1])
        changes["prompt"] = _without_empty_end(slots)

    return setter


def set_slot_weight(slot: int) -> Setter:
    def setter(changes: Transaction, arguments: Arguments) -> None:
        slots = _slots(changes, slot)
        slots[slot] = (slots[slot][0], _clamped(changes, parse_number(arguments), WEIGHT))
        changes["prompt"] = _without_empty_end(slots)

    return setter


def get_slot(slot: int, part: int) -> Getter:
    def getter(parameters: Parameters) -> tuple[Argument, ...]:
        prompt = parameters.prompt
        return (prompt[slot][part] if slot < len(prompt) else EMPTY_SLOT[part],)

    return getter


def set_blend(changes: Transaction, arguments: Arguments) -> None:
    """Blend two prompts, given as texts or numbers of slots, by a number from 0 to 1."""
    if len(arguments) != 3:
        raise ParameterError("takes two prompts and a number from 0 to 1")
    slots = _slots(changes, LAST_SLOT)
    first, second = (
        _prompt_text(changes, [argument])
        if isinstance(argument, str)
        else slots[_slot_index(argument)][0]
        for argument in arguments[:2]
    )
    t = _clamped(changes, parse_number(arguments[2:]), SHARE)
    changes["prompt"] = ((first, 1 - t), (second, t))


def set_blend_position(changes: Transaction, arguments: Arguments) -> None:
    t = _clamped(changes, parse_number(arguments), SHARE)
    slots = _slots(changes, 1)
    changes["prompt"] = ((slots[0][0], 1 - t), (slots[1][0], t), *slots[2:])


def set_seed_from_list(changes: Transaction, arguments: Arguments) -> None:
    example = "[[2, 0.7], [7, 0.3]]"
    pairs = _parse_list(arguments, example)
    try:
        seed, _ = max(
            ((parse_number([s]), parse_number([w])) for s, w in pairs), key=lambda pair: pair[1]
        )
    except (TypeError, ValueError):
        raise ParameterError(f"takes seeds and weights as JSON, such as {example}") from None
    range_ = Range.of_field(Parameters.model_fields["seed"])
    changes["seed"] = _clamped(changes, seed, range_) if range_ else seed


def set_random_seed(changes: Transaction, _arguments: Arguments) -> None:
    # 31 bits, so that clients without 64-bit integers can show it and send it back.
    changes["seed"] = secrets.randbelow(2**31)


def load_preset(changes: Transaction, arguments: Arguments) -> None:
    changes.load(parse_choice(arguments, changes.presets.names) if arguments else "")


def refresh_presets(changes: Transaction, _arguments: Arguments) -> None:
    changes.presets.refresh()


def step_preset(step: int) -> Setter:
    def setter(changes: Transaction, _arguments: Arguments) -> None:
        changes.load(changes.presets.step(step, changes.preset or changes.presets.current))

    return setter


def _clamped(changes: Transaction, value: float, range_: Range) -> float:
    clamped = range_.clamp(value)
    changes.clamped |= abs(clamped - value) > (0.5 if range_.whole else 0)
    return clamped


def _prompt_text(changes: Transaction, arguments: Arguments) -> str:
    """Return the arguments as a text of at most `MAX_PROMPT_BYTES`, with a warning if it is cut."""
    text = parse_text(arguments)
    cut = text.encode()[:MAX_PROMPT_BYTES].decode(errors="ignore")
    if cut != text:
        changes.warnings.append(f"takes {MAX_PROMPT_BYTES} bytes; the rest is left out")
    return cut


def _slot_index(argument: Argument) -> int:
    slot = parse_index([argument])
    if slot > LAST_SLOT:
        raise ParameterError(f"takes a text or a slot from 0 to {LAST_SLOT}, got {slot}")
    return slot


def _allowed(name: str, range_: Range, changes: Transaction) -> Range:
    """Return the part of `range_` that the number of steps and their indices allow."""
    if name != "num_inference_steps":
        return range_
    last = (changes["t_index_list"] or (0,))[-1]
    return range_._replace(low=max(range_.low, changes.steps, last + 1))


def _slots(changes: Transaction, slot: int) -> list[tuple[str, float]]:
    """Return the prompts, with empty ones added so that there is one at `slot`."""
    slots = changes["prompt"]
    return [*slots, *[EMPTY_SLOT] * (slot + 1 - len(slots))]


def _without_empty_end(slots: list[tuple[str, float]]) -> Prompt:
    """Return `slots` without the empty ones at their end."""
    while len(slots) > 1 and slots[-1] == EMPTY_SLOT:
        slots.pop()
    return tuple(slots)


def _parse_prompt(items: list[Any]) -> Prompt:
    return Parameters.parse({"prompt": items}, ParameterError).prompt


def _parse_list(arguments: Arguments, example: str) -> list[Any]:
    parsed = from_json(arguments[0]) if arguments else None
    if not isinstance(parsed, list):
        raise ParameterError(f"takes a list as JSON, such as {example}")
    return parsed
