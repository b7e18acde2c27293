from dataclasses import replace

import pytest

from streamcam.control.control_room import ControlRoom
from streamcam.control.oscquery.announcement import OSC, OSCQUERY
from streamcam.control.state import Control
from streamcam.settings.config_layers import build_config
from streamcam.stats import LatencyHistory
from tests.control.osc.running_server import STATUS

ON_AIR = replace(STATUS, page="http://127.0.0.1:8123/")


@pytest.mark.parametrize(
    ("settings", "asks_for_token", "kinds"),
    [
        ({}, False, [OSC, OSCQUERY]),
        ({"web_bind": "0.0.0.0"}, True, [OSC]),
        ({"oscquery": False}, False, [OSC]),
        ({"osc": False}, False, []),
    ],
)
def test_only_what_other_programs_can_use_is_announced(
    settings: dict[str, object], asks_for_token: bool, kinds: list[str]
) -> None:
    config = build_config([{"osc_port": 0, **settings}])
    room = ControlRoom(
        config, Control(config), lambda: ON_AIR, LatencyHistory(), asks_for_token=asks_for_token
    )
    services = room.services()
    assert [service.kind for service in services] == kinds
    if OSCQUERY in kinds:
        assert services[-1].port == 8123
