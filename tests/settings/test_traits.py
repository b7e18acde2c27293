"""Traits of fields: a new live parameter needs nothing but its declaration."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Annotated

import click
import pytest
from pydantic import Field

from streamcam.cli.options import settings
from streamcam.control.addresses import Addresses
from streamcam.control.dispatcher import Dispatcher
from streamcam.control.messages import Argument, Message
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Control
from streamcam.settings.base import Traits, traits
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.named_numbers import is_named_numbers
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import Prompt, is_prompt

DOCS = Path(__file__).resolve().parents[2] / "docs"


class MoreParameters(Parameters):
    """The live parameters and a few that nothing else in the code names."""

    glow: Annotated[float, Traits(flag=True, fades=True, unit="px", group="Effects")] = Field(
        default=1.0, ge=0, le=20, description="Radius of the glow."
    )
    grain: Annotated[int, Traits(group="Effects")] = Field(
        default=0, ge=0, le=10, description="Amount of film grain."
    )
    flash: Annotated[int, Traits(trigger=True, group="Effects")] = Field(
        default=0, ge=0, description="Counter: raising it flashes the output."
    )
    sky: Annotated[Prompt, Traits(flag=True, fades=True, group="Effects")] = Field(
        default=(("", 1.0),), description="Prompt of the sky."
    )


class LiveParameters:
    """Live parameters of another table, with a clock that tests move."""

    def __init__(self) -> None:
        self.now = 0.0
        config = build_config([{}]).model_copy(update={"live": MoreParameters()})
        self.control = Control(config, clock=lambda: self.now)
        self.addresses = Addresses("/s", table=MoreParameters)
        presets = PresetBank(config, print)
        self.dispatcher = Dispatcher(self.control, config, self.addresses, presets)

    def send(self, address: str, *arguments: Argument) -> MoreParameters:
        outcome = self.dispatcher.apply([Message(address, arguments)], "a client")
        assert (outcome.refused, outcome.unknown) == ([], [])
        return self.parameters(self.control.target)

    @staticmethod
    def parameters(parameters: Parameters) -> MoreParameters:
        assert isinstance(parameters, MoreParameters)
        return parameters


def test_a_new_parameter_has_an_osc_address_by_its_type() -> None:
    live = LiveParameters()
    assert live.send("/s/glow", 3).glow == 3.0
    assert live.send("/s/glow", 99.0).glow == 20.0
    assert live.send("/s/glow/norm", 0.25).glow == 5.0
    assert live.send("/s/grain", 3.6).grain == 4
    assert live.send("/s/sky", "pink", "clouds").sky == (("pink clouds", 1.0),)
    live.send("/s/flash")
    assert live.send("/s/flash").flash == 2


def test_the_values_of_a_new_parameter_are_feedback() -> None:
    feedback = dict(Addresses("/s", table=MoreParameters).messages(MoreParameters(glow=5)))
    assert feedback["/s/glow"] == (5.0,)
    assert feedback["/s/glow/norm"] == (0.25,)
    assert feedback["/s/sky"] == ("",)
    assert "/s/flash" not in feedback


def test_a_new_parameter_is_listed_with_its_range_and_unit() -> None:
    rows = {row.address: row for row in Addresses("/s", table=MoreParameters).rows()}
    glow = ("/s/glow", "both", "number", "0 – 20 px", "Radius of the glow.")
    assert rows["/s/glow"] == glow
    assert rows["/s/flash"][1:] == ("in", "trigger", "none, 1", "Flashes the output.")


def test_a_new_parameter_fades_if_its_traits_say_so() -> None:
    live = LiveParameters()
    changes = {"glow": 3.0, "grain": 10, "sky": "pink"}
    live.control.change(changes, over=2)
    live.now = 1.0
    halfway = live.parameters(live.control.advance())
    assert (halfway.glow, halfway.grain) == (2.0, 10)
    assert dict(halfway.sky) == {"": 0.5, "pink": 0.5}


def test_a_new_parameter_has_a_flag_if_its_traits_say_so() -> None:
    @click.command()
    @settings(MoreParameters)
    def command() -> None: ...

    flags = {flag for option in command.params for flag in option.opts}
    assert {"--glow", "--sky"} <= flags
    assert not {"--grain", "--flash"} & flags


def test_a_new_parameter_is_in_the_docs_under_its_group() -> None:
    page = docs_generator().live_settings(MoreParameters)
    effects = page.split("### Effects\n")[1]
    assert "| `glow` | `--glow` | 0 – 20 px | `1.0` | Radius of the glow. |\n" in effects
    assert "| `grain` |  | 0 – 10 | `0` | Amount of film grain. |\n" in effects


def docs_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    return generate


@pytest.mark.parametrize("name", Parameters.model_fields)
def test_the_traits_of_every_live_parameter_fit_its_type(name: str) -> None:
    field = Parameters.model_fields[name]
    its = traits(field)
    assert its.group
    is_number = field.annotation in (float, float | None) or is_named_numbers(field)
    assert not its.fades or is_prompt(field) or is_number
    assert bool(its.named_by) == is_named_numbers(field)
    assert not its.named_by or its.named_by in Config.model_fields
    assert not its.trigger or (field.annotation is int and field.default == 0)
    assert not its.repeatable


def test_a_flag_that_may_be_repeated_gives_a_list() -> None:
    @click.command()
    @settings(Config)
    def command() -> None: ...

    repeatable = {option.name for option in command.params if getattr(option, "multiple", False)}
    assert repeatable == {
        *("presets", "assignments", "lora", "embedding", "controlnet", "control", "image_prompt"),
    }
