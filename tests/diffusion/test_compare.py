"""The comparison of engines: every way is there, or said to be left out; no figure is judged."""

import torch

from streamcam.config import build
from streamcam.diffusion.compare import Comparison, matrix_rate
from tests.streams import TINY, moving


def test_every_way_has_a_line_on_the_same_weights() -> None:
    config = build(
        [TINY, {"width": 32, "height": 32, "dtype": "float32", "t_index_list": [32, 45]}]
    )
    comparison = Comparison(config, [frame.image for frame in moving(4, size=32)], rounds=2)
    comparison.engines = ()
    lines = comparison.standings()
    names = [line.name for line in lines]
    assert names == [
        "diffusers' pipeline, eager float32",
        "eager float32: bare model calls",
        "eager float32: streamcam",
        "eager float32: sequential steps",
    ]
    assert lines[0].ratio == 1
    assert all(line.ms > 0 and line.share > 0 and line.memory >= 0 for line in lines)
    batch = lines[2]
    assert batch.latency_ms == 2 * batch.ms


def test_an_engine_that_cannot_run_here_is_left_out_with_the_reason() -> None:
    config = build([TINY, {"width": 32, "height": 32, "dtype": "float32"}])
    comparison = Comparison(config, [frame.image for frame in moving(2, size=32)], rounds=1)
    comparison.engines = ("tensorrt",)
    assert not any("tensorrt" in line.name for line in comparison.standings())
    assert any("tensorrt" in line for line in comparison.left_out)


def test_the_device_s_own_rate_is_a_rate() -> None:
    assert 1e8 < matrix_rate(torch.device("cpu"), torch.float32) < 1e16
