"""The OSC addresses: a table that follows from the fields of `Parameters`.

Every field has an address of its own name, every number one with ``/norm`` for 0 to 1; the
others are shorter names, slots of the prompt, triggers, and the names that users know from
StreamDiffusionTD. Nothing here names a path, a model or a command.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic.fields import FieldInfo

from streamcam.control.osc import actions
from streamcam.control.osc.actions import Getter, Setter
from streamcam.control.osc.packets import Message
from streamcam.control.osc.values import Range
from streamcam.errors import ConfigError, suggest
from streamcam.settings.base import literal_values, traits
from streamcam.settings.parameters import Parameters, is_prompt

SHORT = {
    "prompt/interpolation": "prompt_interpolation",
    "prompt/time": "prompt_time",
    "preset/time": "preset_time",
    "similarity/enable": "enable_similar_image_filter",
    "similarity/threshold": "similar_image_filter_threshold",
    "similarity/max_skip": "similar_image_filter_max_skip_frame",
    "fps/limit": "fps_limit",
    "t_list": "t_index_list",
    "opacity": "mix",
}
"""Other names for the address of a field."""

SLOTS = "abcd"

KNOWN = (
    *("prompt", "negative_prompt", "prompt_list", "prompt/0", "prompt/1"),
    *("blend", "blend_t", "seed", "seed_list", "guidance_scale", "delta"),
    *("num_inference_steps", "t_list", "opacity", "pause", "play"),
)
"""Addresses of StreamDiffusionTD and the like, which work without the prefix too."""


@dataclass(frozen=True, slots=True)
class Address:
    """What one address takes, does and tells."""

    types: str
    """For the reader: number, whole number, 0 or 1, text, trigger, ..."""
    values: str
    description: str
    set: Setter
    get: Getter | None = None
    trigger: bool = False


class Addresses:
    """Every address with its prefix, and the aliases that lead to them."""

    def __init__(self, prefix: str, aliases: Mapping[str, str] | None = None) -> None:
        """Make the table; raise ConfigError for an alias that leads nowhere.

        Args:
            prefix: what every address begins with, such as ``/streamcam``.
            aliases: further addresses, and what they stand for with or without the prefix.
        """
        self.prefix = prefix
        self.known = {f"{prefix}/{name}": address for name, address in _own()}
        self.aliases = {f"/{name}": f"{prefix}/{name}" for name in KNOWN}
        for alias, meant in (aliases or {}).items():
            self.aliases[_checked(alias)] = self._meant(alias, meant)

    def find(self, address: str) -> tuple[str, Address] | None:
        """Return the address that `address` stands for and what it does, None if unknown."""
        # One with the prefix always means itself, so that no alias can hide it.
        own = address if address in self.known else self.aliases.get(address, "")
        return (own, self.known[own]) if own in self.known else None

    def told(self, parameters: Parameters) -> Iterator[Message]:
        """Yield what every address that tells something holds now."""
        for name, address in self.known.items():
            if address.get and (arguments := address.get(parameters)):
                yield Message(name, arguments)

    def suggest(self, address: str) -> str:
        return suggest(address[:80], self.known)

    def _meant(self, alias: str, meant: str) -> str:
        for own in (meant, self.prefix + meant):
            if own in self.known:
                return own
        raise ConfigError(f'osc_alias "{alias}": there is no "{meant}": {self.suggest(meant)}')


def _checked(alias: str) -> str:
    if not alias.startswith("/"):
        raise ConfigError(f'osc_alias "{alias}": an OSC address begins with /')
    return alias


def _own() -> Iterator[tuple[str, Address]]:
    """Yield every address without its prefix."""
    fields = dict(_fields())
    yield from fields.items()
    for name, meant in SHORT.items():
        if meant in fields:
            yield name, replace(fields[meant], description=f"The same as /{meant}.")
            if f"{meant}/norm" in fields:
                yield f"{name}/norm", fields[f"{meant}/norm"]
    yield from _prompts()
    yield from _rest()


def _fields() -> Iterator[tuple[str, Address]]:
    for name, field in Parameters.model_fields.items():
        if traits(field).trigger:
            yield name, _trigger(_firing(field), actions.counting(name))
            continue
        yield name, _field(name, field)
        range_ = Range.of(field)
        if range_:
            low, high = range_.fader[:2]
            yield (
                f"{name}/norm",
                Address(
                    "number",
                    "0 – 1",
                    f"/{name} from {low:g} to {high:g}.",
                    actions.from_norm(name, range_.fader),
                    actions.to_norm(name, range_.fader),
                ),
            )


def _field(name: str, field: FieldInfo) -> Address:
    about = str(field.description)
    get = actions.telling(name)
    if is_prompt(field):
        return Address("text", "up to 1000 bytes", about, actions.prompt(name), actions.texts(name))
    if name == "t_index_list":
        return Address("whole numbers", "as many as steps", about, actions.indices, get)
    if words := literal_values(field):
        return Address("text or index", " ".join(words), about, actions.words(name, words), get)
    if field.annotation is bool:
        return Address("0 or 1", "0 1", about, actions.flags(name), get)
    range_ = Range.of(field)
    if range_ is None:
        raise TypeError(f"{name} has a type that no address takes")
    kind = "whole number" if range_.whole else "number"
    return Address(kind, range_.shown, about, actions.numbers(name, range_), get)


def _prompts() -> Iterator[tuple[str, Address]]:
    for slot, letter in enumerate(SLOTS):
        text = Address(
            "text",
            "up to 1000 bytes",
            f"Text of prompt {letter}; a new one has no weight yet.",
            actions.slot_text(slot),
            actions.slot_telling(slot, 0),
        )
        yield f"prompt/{letter}/text", text
        weight = actions.slot_weight(slot)
        tells = actions.slot_telling(slot, 1)
        about = f"Weight of prompt {letter}; only their proportions count."
        yield f"prompt/{letter}/weight", Address("number", "0 – 1000", about, weight, tells)
        if slot < 2:
            yield f"prompt/{slot}", replace(text, description=f"The same as /prompt/{letter}/text.")
    blend = Address(
        "a, b, number",
        "texts or slots 0 – 3; 0 – 1",
        "Two prompts and how far from the first to the second.",
        actions.blend,
    )
    yield "prompt/blend", blend
    yield "blend", replace(blend, description="The same as /prompt/blend.")
    about = "How far from prompt a to prompt b."
    yield "blend_t", Address("number", "0 – 1", about, actions.blend_t)
    about = "Prompts and their weights: [[text, weight], …]."
    yield "prompt_list", Address("text", "JSON", about, actions.prompt_list)


def _rest() -> Iterator[tuple[str, Address]]:
    yield "seed/random", _trigger("Take a random seed.", actions.random_seed)
    about = "Seeds and their weights, [[seed, weight], …]; the heaviest is taken."
    yield "seed_list", Address("text", "JSON", about, actions.seed_list)
    about = "The same as /freeze."
    yield "pause", Address("0 or 1", "0 1", about, actions.flags("freeze"))
    about = "The opposite of /freeze."
    yield "play", Address("0 or 1", "0 1", about, actions.flags("freeze", contrary=True))
    about = (
        "Take over the live values of a preset, within /preset/time seconds; tells the last one."
    )
    yield "preset/load", Address("text or index", "name of a preset", about, actions.load_preset)
    yield "preset/next", _trigger("Load the next preset.", actions.step_preset(1))
    yield "preset/prev", _trigger("Load the preset before.", actions.step_preset(-1))


def _trigger(description: str, setter: Setter) -> Address:
    return Address("trigger", "none, 1", description, setter, trigger=True)


def _firing(field: FieldInfo) -> str:
    """Return what firing a counter does, from the words of its field."""
    did = str(field.description).removeprefix("Counter: raising it ")
    return did[0].upper() + did[1:]
