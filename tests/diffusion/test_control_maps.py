"""Maps for ControlNets: white lines on black, where the image has them."""

import numpy as np
import pytest

from streamcam.diffusion.control_maps import MAPS, control_map
from streamcam.settings.parameters import Parameters

LIVE = Parameters()


def step(level: int) -> np.ndarray:
    """Return an image that is dark on the left, and `level` brighter on the right."""
    image = np.full((64, 64, 3), 60, np.uint8)
    image[:, 32:] += np.uint8(level)
    return image


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_white_at_an_edge_and_black_elsewhere(name: str) -> None:
    shown = control_map(name, step(150), LIVE)
    assert shown.shape == (64, 64, 3)
    assert shown.dtype == np.uint8
    assert shown[:, 28:36].max() == 255
    assert not shown[:, :24].any()
    assert not shown[:, 40:].any()


def test_higher_thresholds_show_fewer_edges() -> None:
    faint = step(40)
    assert control_map("edges", faint, LIVE.changed({"edge_low": 20, "edge_high": 60})).any()
    assert not control_map("edges", faint, LIVE.changed({"edge_low": 300, "edge_high": 600})).any()
