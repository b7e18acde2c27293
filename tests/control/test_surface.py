"""The control surface: values by address and alias."""

from typing import Any

from streamcam.control.messages import Message
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.control.web.page_table import page_table
from streamcam.settings.base import traits
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters


def test_the_preset_on_air_and_an_alias_have_a_value_to_ask_for() -> None:
    config = build_config([{"osc_alias": {"/look": "/preset/load", "/blend": "/mix"}}])
    surface = ControlSurface(Control(config), config, print)
    assert surface.value_of("/look") is None
    surface.apply([Message("/look", ("oil",))], "a")
    loaded = Message("/streamcam/preset/load", ("oil",))
    assert surface.value_of("/look") == surface.value_of("/streamcam/preset/load") == loaded
    assert surface.value_of("/blend") == Message("/streamcam/mix", (1.0,))
    assert surface.value_of("/streamcam/preset/next") is None


def test_every_number_by_name_has_an_address_of_its_own() -> None:
    config = build_config([{"lora": {"a/sketch.safetensors": 0.8, "b/neon": 1.0}}])
    surface = ControlSurface(Control(config), config, print)
    sketch = "/streamcam/lora_scale/sketch"
    assert surface.value_of(sketch) == Message(sketch, (0.8,))
    surface.apply([Message(sketch, (0.25,)), Message("/streamcam/lora_scale/neon/norm", (0.5,))], 1)
    assert surface.control.target.lora_scale == (("sketch", 0.25), ("neon", 0.75))
    whole = surface.value_of("/streamcam/lora_scale")
    assert whole == Message("/streamcam/lora_scale", ("sketch", 0.25, "neon", 0.75))
    assert surface.apply([Message(sketch, (99,))], 1).clamped == [sketch]
    outcome = surface.apply([Message("/streamcam/lora_scale", ("sketch", 1, "nope", 1))], 1)
    assert outcome.refused[0][1].startswith('lora_scale: no lora "nope"')
    assert surface.value_of(sketch) == Message(sketch, (10.0,))
    [row] = [row for row in page_table(surface) if row["name"] == "lora_scale/sketch"]
    assert (row["kind"], row["low"], row["high"], row["fader"]) == ("number", -10, 10, [0, 1.5])


def test_the_page_has_no_fader_for_what_is_not_in_use() -> None:
    def names(**settings: Any) -> set[str]:
        config = build_config([settings])
        table = page_table(ControlSurface(Control(config), config, print))
        return {row["name"] for row in table}

    of_regions = {"strength_person", "strength_background"}
    assert not names() & {*of_regions, "edge_low", "temporal_strength", "eta", "image_prompt_grab"}
    assert of_regions <= names(region_mask="person")
    assert "eta" in names(sampler="tcd")


def test_what_a_parameter_needs_is_a_setting() -> None:
    for field in Parameters.model_fields.values():
        assert traits(field).needs in ("", *Config.model_fields)
