"""Table of the OSC addresses, made from the fields of `Parameters`.

Every field has an address of its own name, every number one with ``/norm`` for 0 to 1; the
rest are shorter names, slots of the prompt, triggers, and the names that users know from
StreamDiffusionTD. No address takes a path, a model or a command.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from pydantic.fields import FieldInfo

from streamcam.control import actions
from streamcam.control.actions import Getter, Setter
from streamcam.control.command_declaration import Command
from streamcam.control.commands import COMMANDS
from streamcam.control.messages import Message
from streamcam.control.solo import get_solo, set_solo, solo_choices
from streamcam.errors import ConfigError, suggest
from streamcam.settings.base import literal_values, traits
from streamcam.settings.config import Config
from streamcam.settings.faders import Span, fader_ranges
from streamcam.settings.named_numbers import NamedNumbers, is_named_numbers
from streamcam.settings.number_range import Range
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import is_prompt

SHORT_NAMES = {
    "prompt/interpolation": "prompt_interpolation",
    "prompt/time": "prompt_time",
    "preset/time": "preset_time",
    "preset/easing": "preset_easing",
    "similarity/enable": "enable_similar_image_filter",
    "similarity/threshold": "similar_image_filter_threshold",
    "similarity/max_skip": "similar_image_filter_max_skip_frame",
    "strength/person": "strength_person",
    "strength/background": "strength_background",
    "fps/limit": "fps_limit",
    "t_list": "t_index_list",
    "opacity": "mix",
    "image_prompt/grab": "image_prompt_grab",
}
"""Other names for the addresses of fields."""

SLOTS = "abcd"
OUTPUT_GROUPS = ("Output", "Safety")
"""Groups of the fields that are read where the output is composed and recorded."""

OWN_VALUE = "value"
"""Name below an address that has others below it, as ``/prompt`` has, for its own value: many
clients take an address for either a folder or a value."""

WITHOUT_PREFIX = (
    *("prompt", "negative_prompt", "prompt_list", "prompt/0", "prompt/1"),
    *("blend", "blend_t", "seed", "seed_list", "guidance_scale", "delta"),
    *("num_inference_steps", "t_list", "opacity", "pause", "play"),
)
"""Addresses of StreamDiffusionTD and the like, which work without the prefix too."""


class Row(NamedTuple):
    """One address as shown to readers, by ``streamcam osc list`` and in the docs."""

    address: str
    direction: str
    """in, out, or both: a value that is also sent as feedback."""
    types: str
    """number, whole number, 0 or 1, text, trigger, ..."""
    values: str
    """Range or choices."""
    description: str


@dataclass(frozen=True, slots=True)
class Address:
    """The setter and getter of one address, with the texts of its `Row`."""

    types: str
    values: str
    description: str
    set: Setter
    get: Getter | None = None
    trigger: bool = False
    fader: tuple[float, float] | None = None
    """Ends of what ``/norm`` spans, of a number that has such an address."""
    secondary: bool = False
    """Another form of an address of its own."""
    reported: bool = False
    """A value is sent as feedback, though no parameter holds it."""
    quantised: bool = False
    """It waits for the beat where changes are quantised: a prompt, a choice, a trigger."""
    on_output: bool = False
    """It is read where the output is composed, so it shows without the latency of the model."""


class Addresses:
    """Every address with its prefix, and the aliases that lead to them."""

    def __init__(
        self,
        prefix: str,
        aliases: Mapping[str, str] | None = None,
        table: type[Parameters] = Parameters,
        commands: Mapping[str, Command] = COMMANDS,
        named: Mapping[str, NamedNumbers] | None = None,
        faders: Mapping[str, Span] | None = None,
    ) -> None:
        """Make the table; raise ConfigError for an alias that leads nowhere.

        Args:
            prefix: beginning of every address, such as ``/streamcam``.
            aliases: more addresses, and those they stand for with or without the prefix.
            table: the parameters to have addresses.
            commands: what has an address without being a parameter, by name.
            named: the names at start of each field of numbers by name, which get an address each.
            faders: spans of faders that replace the usual ones, by field.
        """
        self.named = named_addresses(table, named or {})
        """Addresses without the prefix of numbers by name: their field, and their name."""
        self.prefix = prefix
        self.known = {
            f"{prefix}/{name}": address
            for name, address in _addresses(
                table, self.named, named or {}, fader_ranges(faders or {}, table)
            )
        }
        self.commands = {f"{prefix}/{name}": name for name in commands}
        """Names of the commands by address."""
        self._declared = commands
        self.aliases = {f"/{name}": f"{prefix}/{name}" for name in WITHOUT_PREFIX}
        self._own_values = {f"{name}/{OWN_VALUE}": name for name in self._with_others_below()}
        for alias, target in (aliases or {}).items():
            self.aliases[_checked(alias)] = self._resolve(alias, target)

    @classmethod
    def of(cls, config: Config) -> "Addresses":
        """Make the table of a broadcast; raise ConfigError for an alias that leads nowhere."""
        settings = config.broadcast
        return cls(
            settings.osc_prefix,
            settings.osc_alias,
            named=config.named_numbers(),
            faders=settings.faders,
        )

    def command(self, address: str) -> str | None:
        """Return the name of the command at `address`, which may be an alias; None if none."""
        return self.commands.get(address) or self.commands.get(self._other_name(address))

    def find(self, address: str) -> tuple[str, Address] | None:
        """Return the full name and entry of `address`, which may be an alias; None if unknown."""
        # One with the prefix always means itself, so that no alias can hide it.
        name = address if address in self.known else self._other_name(address)
        return (name, self.known[name]) if name in self.known else None

    def messages(self, parameters: Parameters) -> Iterator[Message]:
        """Yield the current value of every address that has one."""
        for name, address in self.known.items():
            if address.get and (arguments := address.get(parameters)):
                yield Message(name, arguments)

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the addresses that change parameters, and of the commands."""
        for name, address in self.known.items():
            direction = "both" if address.get or address.reported else "in"
            yield Row(name, direction, address.types, address.values, address.description)
        for full, name in self.commands.items():
            command = self._declared[name]
            direction = "both" if command.has_value else "in"
            if command.read_only:
                direction = "out"
            yield Row(full, direction, command.types, command.values, command.shown)

    def fader_span(self, row: Row) -> str:
        """Return what a fader spans, such as "0 – 4"; empty where it spans all or there is none."""
        address, command = self.known.get(row.address), self.commands.get(row.address)
        span = address.fader if address else command and self._declared[command].fader
        if not span:
            return ""
        shown = f"{span[0]:g} – {span[1]:g}"
        return "" if row.values.split()[:3] == shown.split() else shown

    def with_fader(self, row: Row) -> Row:
        """Return a row whose values also say what a fader spans, where that is not all of them."""
        span = self.fader_span(row)
        return row._replace(values=f"{row.values}; fader {span}") if span else row

    def suggest(self, address: str) -> str:
        return suggest(address[:80], [*self.known, *self.commands])

    def is_secondary(self, address: str) -> bool:
        """Return whether `address` is another form of one that has a name of its own."""
        return address in self.known and self.known[address].secondary

    def _other_name(self, address: str) -> str:
        return self._own_values.get(address) or self.aliases.get(address, "")

    def _with_others_below(self) -> list[str]:
        primary = [name for name, address in self.known.items() if not address.secondary]
        names = [*primary, *self.commands]
        return [name for name in names if any(n.startswith(f"{name}/") for n in names)]

    def _resolve(self, alias: str, target: str) -> str:
        for name in (target, self.prefix + target):
            if name in self.known or name in self.commands:
                return name
        raise ConfigError(f'osc_alias "{alias}": there is no "{target}": {self.suggest(target)}')


def _checked(alias: str) -> str:
    if not alias.startswith("/"):
        raise ConfigError(f'osc_alias "{alias}": an OSC address begins with /')
    return alias


def named_addresses(
    table: type[Parameters], named: Mapping[str, NamedNumbers]
) -> dict[str, tuple[str, str]]:
    """Return the field and the name behind the address of every number by name."""
    return {
        f"{field}/{which}": (field, which)
        for field in table.model_fields
        for which, _ in named.get(field, ())
    }


def _addresses(
    table: type[Parameters],
    named: Mapping[str, tuple[str, str]],
    begun: Mapping[str, NamedNumbers],
    ranges: Mapping[str, Range],
) -> Iterator[tuple[str, Address]]:
    """Yield every address without its prefix."""
    fields = dict(_field_addresses(table, ranges))
    yield from fields.items()
    for name, (field, which) in named.items():
        yield from _named_addresses(name, field, which, table.model_fields[field], ranges[field])
    for name, declared in table.model_fields.items():
        if solo := traits(declared).solo:
            yield solo, _solo_address(name, begun.get(name, ()))
    for name, field in SHORT_NAMES.items():
        description = f"The same as /{field}."
        yield name, replace(fields[field], description=description, secondary=True)
        if f"{field}/norm" in fields:
            yield f"{name}/norm", fields[f"{field}/norm"]
    yield from _prompt_addresses()
    yield from _other_addresses()


def _field_addresses(
    table: type[Parameters], ranges: Mapping[str, Range]
) -> Iterator[tuple[str, Address]]:
    for name, field in table.model_fields.items():
        on_output = traits(field).group in OUTPUT_GROUPS
        # A number is dragged, and a hand on a fader expects to see it move. What is for safety, and
        # what keeps a record of the show, must not wait either.
        quantised = name not in ranges and not on_output
        if traits(field).trigger:
            address = _trigger(_trigger_description(field), actions.count_up(name))
        else:
            address = _field_address(name, field, ranges.get(name))
        yield name, replace(address, quantised=quantised, on_output=on_output)
        range_ = ranges.get(name)
        if range_ and not is_named_numbers(field):
            low, high = range_.fader[:2]
            yield (
                f"{name}/norm",
                Address(
                    "number",
                    "0 – 1",
                    f"/{name} from {low:g} to {high:g}.",
                    actions.set_norm(name, range_),
                    actions.get_norm(name, range_),
                    secondary=True,
                    on_output=on_output,
                ),
            )


def _field_address(name: str, field: FieldInfo, range_: Range | None) -> Address:
    about = str(field.description)
    get = actions.get_value(name)
    if is_prompt(field):
        set_, get = actions.set_prompt(name), actions.get_prompt(name)
        return Address("text", "up to 1000 bytes", about, set_, get)
    if name == "t_index_list":
        return Address("whole numbers", "as many as steps", about, actions.set_indices, get)
    if words := literal_values(field):
        return Address(
            "text or index", " ".join(words), about, actions.set_choice(name, words), get
        )
    if field.annotation is bool:
        return Address("0 or 1", "0 1", about, actions.set_flag(name), get)
    if range_ and is_named_numbers(field):
        set_, get = actions.set_named(name, range_), actions.get_named(name)
        return Address("name, number", f"any; {range_.shown}", about, set_, get)
    if range_ is None:
        raise TypeError(f"{name} has a type that no address takes")
    kind = "whole number" if range_.whole else "number"
    values = f"{range_.shown} {traits(field).unit}".rstrip()
    low, high = range_.fader[:2]
    return Address(kind, values, about, actions.set_number(name, range_), get, fader=(low, high))


def _named_addresses(
    address: str, name: str, which: str, field: FieldInfo, range_: Range
) -> Iterator[tuple[str, Address]]:
    """Yield the addresses of one of the numbers that the field `name` holds by name."""
    on_output = traits(field).group in OUTPUT_GROUPS
    values = f"{range_.shown} {traits(field).unit}".rstrip()
    set_, get = actions.set_one_named(name, which, range_), actions.get_one_named(name, which)
    low, high = range_.fader[:2]
    about = f"/{name} of {which}."
    fader = (low, high)
    yield address, Address("number", values, about, set_, get, fader=fader, on_output=on_output)
    set_ = actions.set_one_named_norm(name, which, range_)
    get = actions.get_one_named_norm(name, which, range_)
    about = f"/{address} from {low:g} to {high:g}."
    norm = Address("number", "0 – 1", about, set_, get, secondary=True, on_output=on_output)
    yield f"{address}/norm", norm


def _solo_address(name: str, begun: NamedNumbers) -> Address:
    """Return the address that takes one of the numbers that the field `name` holds by name."""
    choices = solo_choices(begun)
    return Address(
        "text or index" if choices else "text, number",
        " ".join(choices) or "a name or off; 0 – 600 s",
        f"Fade to one name of /{name} alone, at the number that it began with or 1; off is none. A"
        " number after it is the seconds, instead of /prompt_time. As feedback, the only one"
        " that is not 0.",
        set_solo(name, begun),
        get_solo(name),
        quantised=True,
    )


def _prompt_addresses() -> Iterator[tuple[str, Address]]:
    for slot, letter in enumerate(SLOTS):
        text = Address(
            "text",
            "up to 1000 bytes",
            f"Text of prompt {letter}; a new one has no weight yet.",
            actions.set_slot_text(slot),
            actions.get_slot(slot, 0),
            quantised=True,
        )
        yield f"prompt/{letter}/text", text
        weight = Address(
            "number",
            "0 – 1000",
            f"Weight of prompt {letter}; only the proportions of the weights count.",
            actions.set_slot_weight(slot),
            actions.get_slot(slot, 1),
        )
        yield f"prompt/{letter}/weight", weight
        if slot < 2:
            about = f"The same as /prompt/{letter}/text."
            yield f"prompt/{slot}", replace(text, description=about, secondary=True)
    yield (
        "prompt/fade",
        Address(
            "text, number",
            "up to 1000 bytes; 0 – 600 s",
            "Set the prompt, fading over these seconds, whatever /prompt/time is.",
            actions.set_prompt_over,
            quantised=True,
        ),
    )
    blend = Address(
        "a, b, number",
        "texts or slots 0 – 3; 0 – 1",
        "Blend two prompts; the number is how far from the first to the second.",
        actions.set_blend,
    )
    yield "prompt/blend", blend
    yield "blend", replace(blend, description="The same as /prompt/blend.", secondary=True)
    about = "How far to go from prompt a to prompt b."
    yield "blend_t", Address("number", "0 – 1", about, actions.set_blend_position)
    about = "Prompts and their weights: [[text, weight], …]."
    yield "prompt_list", Address("text", "JSON", about, actions.set_prompt_list)


def _other_addresses() -> Iterator[tuple[str, Address]]:
    random_seed = _trigger("Set a random seed.", actions.set_random_seed)
    yield "seed/random", replace(random_seed, quantised=True)
    about = "Seeds and their weights, [[seed, weight], …]; the heaviest is used."
    yield "seed_list", Address("text", "JSON", about, actions.set_seed_from_list)
    about = "The same as /freeze."
    freeze = Address("0 or 1", "0 1", about, actions.set_flag("freeze"))
    yield "pause", replace(freeze, secondary=True, on_output=True)
    about = "The opposite of /freeze."
    play = Address("0 or 1", "0 1", about, actions.set_flag("freeze", inverted=True))
    yield "play", replace(play, secondary=True, on_output=True)
    about = (
        "Load the live values of a preset, fading over /preset/time; as feedback, the one loaded"
        " last."
    )
    load = Address("text or index", "name of a preset", about, actions.load_preset)
    yield "preset/load", replace(load, reported=True, quantised=True)
    next_ = _trigger("Load the next preset.", actions.step_preset(1))
    yield "preset/next", replace(next_, quantised=True)
    previous = _trigger("Load the previous preset.", actions.step_preset(-1))
    yield "preset/prev", replace(previous, quantised=True)
    about = "Read the presets again, so that one that was saved meanwhile is found."
    yield "preset/refresh", _trigger(about, actions.refresh_presets)


def _trigger(description: str, setter: Setter) -> Address:
    return Address("trigger", "none, 1", description, setter, trigger=True)


def _trigger_description(field: FieldInfo) -> str:
    """Return what raising a counter does, from the words of its field."""
    action = str(field.description).removeprefix("Counter: raising it ")
    return action[0].upper() + action[1:]
