"""What the addresses do to a draft, and what they tell of a snapshot."""

import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from streamcam.control.osc.packets import Argument
from streamcam.control.osc.transaction import Draft
from streamcam.control.osc.values import Range, flag, number, text, word
from streamcam.errors import ParameterError
from streamcam.settings.base import from_json
from streamcam.settings.parameters import MAX_PROMPT_BYTES, Parameters, Prompt

Arguments = Sequence[Argument]
Setter = Callable[[Draft, Arguments], None]
Getter = Callable[[Parameters], tuple[Argument, ...]]
"""Tells the value of a snapshot as arguments; none where it is not set."""

WEIGHT = Range(0, 1000)
SHARE = Range(0, 1)
EMPTY = ("", 0.0)


def numbers(name: str, range_: Range) -> Setter:
    def set_number(draft: Draft, arguments: Arguments) -> None:
        draft[name] = _clamped(draft, number(arguments), _within(name, range_, draft))

    return set_number


def from_norm(name: str, range_: Range) -> Setter:
    def set_share(draft: Draft, arguments: Arguments) -> None:
        share = _clamped(draft, number(arguments), SHARE)
        draft[name] = _within(name, range_, draft).clamp(range_.from_norm(share))

    return set_share


def to_norm(name: str, range_: Range) -> Getter:
    def tell_share(parameters: Parameters) -> tuple[Argument, ...]:
        value = getattr(parameters, name)
        return () if value is None else (float(range_.to_norm(value)),)

    return tell_share


def flags(name: str, *, contrary: bool = False) -> Setter:
    def set_flag(draft: Draft, arguments: Arguments) -> None:
        draft[name] = flag(arguments) is not contrary

    return set_flag


def words(name: str, choices: Sequence[str]) -> Setter:
    def set_word(draft: Draft, arguments: Arguments) -> None:
        draft[name] = word(arguments, choices)

    return set_word


def telling(name: str) -> Getter:
    def tell(parameters: Parameters) -> tuple[Argument, ...]:
        value = getattr(parameters, name)
        if value is None:
            return ()
        return value if isinstance(value, tuple) else (value,)

    return tell


def counting(name: str) -> Setter:
    def count_up(draft: Draft, _arguments: Arguments) -> None:
        draft[name] = draft[name] + 1

    return count_up


def indices(draft: Draft, arguments: Arguments) -> None:
    """Take several numbers, or a text such as ``32,45``."""
    given: Any = arguments
    if len(arguments) == 1 and isinstance(arguments[0], str):
        listed = from_json(arguments[0])
        given = listed.split(",") if isinstance(listed, str) else listed
    if not isinstance(given, Sequence) or not given:
        raise ParameterError("takes the indices of the steps, such as 32 45")
    range_ = Range(0, draft["num_inference_steps"] - 1, whole=True)
    draft["t_index_list"] = tuple(_clamped(draft, number([index]), range_) for index in given)


def prompt(name: str) -> Setter:
    def set_prompt(draft: Draft, arguments: Arguments) -> None:
        whole = text(arguments, MAX_PROMPT_BYTES)
        # A list of texts as JSON may be longer than a text, and is checked by the field.
        listed = from_json(arguments[0]) if len(arguments) == 1 else None
        draft[name] = _weighted(listed) if isinstance(listed, list) else ((whole, 1.0),)

    return set_prompt


def texts(name: str) -> Getter:
    def tell_texts(parameters: Parameters) -> tuple[Argument, ...]:
        told = getattr(parameters, name)
        if len(told) == 1:
            return (told[0][0],)
        return (json.dumps([list(item) for item in told], ensure_ascii=False),)

    return tell_texts


def prompt_list(draft: Draft, arguments: Arguments) -> None:
    draft["prompt"] = _weighted(_list(arguments, '[["a cat", 0.7], ["a dog", 0.3]]'))


def slot_text(slot: int) -> Setter:
    def set_text(draft: Draft, arguments: Arguments) -> None:
        slots = _slots(draft, slot)
        slots[slot] = (text(arguments, MAX_PROMPT_BYTES), slots[slot][1])
        draft["prompt"] = _trimmed(slots)

    return set_text


def slot_weight(slot: int) -> Setter:
    def set_weight(draft: Draft, arguments: Arguments) -> None:
        slots = _slots(draft, slot)
        slots[slot] = (slots[slot][0], _clamped(draft, number(arguments), WEIGHT))
        draft["prompt"] = _trimmed(slots)

    return set_weight


def slot_telling(slot: int, part: int) -> Getter:
    def tell_slot(parameters: Parameters) -> tuple[Argument, ...]:
        told = parameters.prompt
        return (told[slot][part] if slot < len(told) else EMPTY[part],)

    return tell_slot


def blend(draft: Draft, arguments: Arguments) -> None:
    """Take two prompts, as texts or as numbers of slots, and the way between them."""
    if len(arguments) != 3:
        raise ParameterError("takes two prompts and a number from 0 to 1")
    slots = _slots(draft, 3)
    pair = [
        text([a], MAX_PROMPT_BYTES)
        if isinstance(a, str)
        else slots[int(Range(0, 3, whole=True).clamp(number([a])))][0]
        for a in arguments[:2]
    ]
    t = _clamped(draft, number(arguments[2:]), SHARE)
    draft["prompt"] = ((pair[0], 1 - t), (pair[1], t))


def blend_t(draft: Draft, arguments: Arguments) -> None:
    t = _clamped(draft, number(arguments), SHARE)
    slots = _slots(draft, 1)
    draft["prompt"] = ((slots[0][0], 1 - t), (slots[1][0], t), *slots[2:])


def seed_list(draft: Draft, arguments: Arguments) -> None:
    example = "[[2, 0.7], [7, 0.3]]"
    pairs = _list(arguments, example)
    try:
        seed, _ = max(((number([s]), number([w])) for s, w in pairs), key=lambda pair: pair[1])
    except (TypeError, ValueError):
        raise ParameterError(f"takes seeds and weights as JSON, such as {example}") from None
    field = Range.of(Parameters.model_fields["seed"])
    draft["seed"] = field.clamp(seed) if field else seed


def random_seed(draft: Draft, _arguments: Arguments) -> None:
    # 31 bits, so that clients without 64-bit integers can show it and send it back.
    draft["seed"] = secrets.randbelow(2**31)


def load_preset(draft: Draft, arguments: Arguments) -> None:
    draft.load(word(arguments, draft.presets.names) if arguments else "")


def step_preset(step: int) -> Setter:
    def load_beside(draft: Draft, _arguments: Arguments) -> None:
        draft.load(draft.presets.step(step, draft.preset or draft.presets.current))

    return load_beside


def _clamped(draft: Draft, value: float, range_: Range) -> float:
    clamped = range_.clamp(value)
    draft.clamped |= abs(clamped - value) > (0.5 if range_.whole else 0)
    return clamped


def _within(name: str, range_: Range, draft: Draft) -> Range:
    """Return what of `range_` the structure can run."""
    if name != "num_inference_steps":
        return range_
    last = (draft["t_index_list"] or (0,))[-1]
    return range_._replace(low=max(range_.low, draft.steps, last + 1))


def _slots(draft: Draft, slot: int) -> list[tuple[str, float]]:
    """Return the prompts, with empty ones added so that there is one at `slot`."""
    slots = draft["prompt"]
    return [*slots, *[EMPTY] * (slot + 1 - len(slots))]


def _trimmed(slots: list[tuple[str, float]]) -> Prompt:
    """Return `slots` without the empty ones at their end."""
    while len(slots) > 1 and slots[-1] == EMPTY:
        slots.pop()
    return tuple(slots)


def _weighted(listed: list[Any]) -> Prompt:
    return Parameters.parse({"prompt": listed}, ParameterError).prompt


def _list(arguments: Arguments, example: str) -> list[Any]:
    listed = from_json(arguments[0]) if arguments else None
    if not isinstance(listed, list):
        raise ParameterError(f"takes a list as JSON, such as {example}")
    return listed
