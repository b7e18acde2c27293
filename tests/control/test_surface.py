"""The control surface: values by address and alias."""

from typing import Any

import pytest

from streamcam.control.messages import Message
from streamcam.control.midi.control_targets import Targets
from streamcam.control.oscquery.namespace import Namespace
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.control.web.page_table import page_table
from streamcam.settings.base import traits
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from tests.control.osc.running_server import STATUS


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


def test_a_fader_that_a_model_caps_is_the_same_on_every_surface() -> None:
    config = build_config([{"faders": {"strength": 0.5, "lora_scale": 2}, "lora": {"a/ink": 1.0}}])
    surface = ControlSurface(Control(config), config, print)
    rows = {row["name"]: row for row in page_table(surface)}
    assert (rows["strength"]["high"], rows["strength"]["fader"]) == (1, [0, 0.5])
    assert (rows["lora_scale/ink"]["high"], rows["lora_scale/ink"]["fader"]) == (10, [0, 2])
    assert rows["guidance_scale"]["fader"] == [0, 4]
    assert rows["prompt_time"]["fader"] == rows["preset_time"]["fader"] == [0, 10]
    target = Targets(surface).find("strength")
    assert (target.low, target.high) == (0, 0.5)
    described = Namespace(surface, lambda: STATUS)
    # The whole range, since clients clip the values that they receive to it.
    strength = described.describe("/streamcam/strength")
    assert strength["RANGE"] == [{"MIN": 0, "MAX": 1}]
    assert strength["DESCRIPTION"].endswith("Fader: 0 – 0.5.")
    norm = described.describe("/streamcam/strength/norm")
    assert norm["RANGE"] == [{"MIN": 0, "MAX": 1}]
    assert norm["DESCRIPTION"] == "/strength from 0 to 0.5."
    # The strengths of regions have the fader of strength.
    region = surface.addresses.known["/streamcam/strength_person"]
    assert region.fader == (0, 0.5)
    listed = {row.address: surface.addresses.with_fader(row) for row in surface.addresses.rows()}
    assert listed["/streamcam/strength"].values == "0 – 1; fader 0 – 0.5"
    assert listed["/streamcam/mix"].values == "0 – 1"


def test_one_touch_fades_to_one_image_prompt_alone() -> None:
    images = {"a/waves.png": 0.7, "forest.jpg": 0.0}
    config = build_config([{"ip_adapter": "x", "image_prompt": images, "prompt_time": 8}])
    clock = 0.0
    control = Control(config, lambda: clock)
    surface = ControlSurface(control, config, print)

    def touch(*arguments: Any) -> dict[str, float]:
        nonlocal clock
        surface.apply([Message("/streamcam/image_prompt", arguments)], 1)
        clock += 4
        return dict(control.advance().image_prompt_scale)

    # At the number that each began with, or 1 where that is none; camera began with 1.
    assert touch("waves", 4) == {"waves": 0.7, "forest": 0, "camera": 0}
    assert touch("forest") == pytest.approx({"waves": 0.35, "forest": 0.5, "camera": 0})
    address = "/streamcam/image_prompt"
    assert surface.value_of(address) == Message(address, ("forest",))
    assert touch("0", 0) == {"waves": 0, "forest": 0, "camera": 1}
    surface.apply([Message("/streamcam/image_prompt_scale/waves", (0.2,))], 1)
    assert surface.value_of(address) == Message(address, ("",))
    assert set(touch("off", 4).values()) == {0}
    assert surface.value_of(address) == Message(address, ("off",))
    for wrong in ((), ("wave",), ("waves", "soon"), ("waves", 1, 2), (5,)):
        assert surface.apply([Message(address, wrong)], 1).refused, wrong
    assert surface.apply([Message(address, ("waves", 1e6))], 1).clamped == [address]
    [row] = [row for row in page_table(surface) if row["name"] == "image_prompt"]
    assert (row["kind"], row["choices"]) == ("choice", ["camera", "waves", "forest", "off"])


def test_a_solo_of_what_was_not_given_at_start_says_what_to_do() -> None:
    config = build_config([{}])
    surface = ControlSurface(Control(config), config, print)
    assert surface.value_of("/streamcam/lora") is None
    outcome = surface.apply([Message("/streamcam/lora", ("ink",))], 1)
    assert "none was given at start; name one with --set lora" in outcome.refused[0][1]
    assert "lora" not in {row["name"] for row in page_table(surface)}


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
