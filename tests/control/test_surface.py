"""The control surface: values by address and alias."""

from streamcam.control.messages import Message
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.settings.config_layers import build_config


def test_the_preset_on_air_and_an_alias_have_a_value_to_ask_for() -> None:
    config = build_config([{"osc_alias": {"/look": "/preset/load", "/blend": "/mix"}}])
    surface = ControlSurface(Control(config), config, print)
    assert surface.value_of("/look") is None
    surface.apply([Message("/look", ("oil",))], "a")
    loaded = Message("/streamcam/preset/load", ("oil",))
    assert surface.value_of("/look") == surface.value_of("/streamcam/preset/load") == loaded
    assert surface.value_of("/blend") == Message("/streamcam/mix", (1.0,))
    assert surface.value_of("/streamcam/preset/next") is None
