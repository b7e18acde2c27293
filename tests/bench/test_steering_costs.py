"""What steering costs: a line for each way, with its memory; no test depends on a time."""

from pathlib import Path

import torch
from torch import nn

from streamcam.bench.frame_memory import peak_bytes, weight_bytes
from streamcam.bench.steering_costs import FROM_CAMERA, IMAGE_PROMPTS, OFF, WAYS, steering_costs
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config_layers import build_config
from tests.support.ip_adapters import save_ip_adapter
from tests.support.streams import TINY, moving

CPU = torch.device("cpu")


def test_every_way_to_steer_has_a_line_with_its_memory(tmp_path: Path) -> None:
    adapter = save_ip_adapter(tmp_path, random_pipeline("tiny-sd-turbo").unet, "plain")
    small = {"steps": 1, "width": 32, "height": 32}
    config = build_config([TINY, small, {"ip_adapter": str(adapter), "output_blend": 0.3}])
    names = (OFF, "1 LoRA", "ControlNet of edges", "memory, features", IMAGE_PROMPTS)
    ways = {name: WAYS[name] for name in names}
    rows = list(steering_costs(config, [moving(1, size=32)[0].image], 1, ways))
    assert [row.name for row in rows] == [*names]
    off, lora, net, features, images = (float(row.note.split()[0]) for row in rows)
    assert off == 0 < lora < net
    assert min(features, images) > 0
    assert all(row.ms > 0 and row.note.endswith("MB in a frame") for row in rows)


def test_without_a_camera_image_nothing_is_compared_that_needs_one() -> None:
    config = build_config([TINY, {"steps": 1, "mode": "txt2img", "width": 32, "height": 32}])
    ways = {name: WAYS[name] for name in (OFF, *FROM_CAMERA, IMAGE_PROMPTS)}
    rows = steering_costs(config, [moving(1, size=32)[0].image], 1, ways)
    assert [row.name for row in rows] == [OFF]


def test_memory_is_counted_while_it_is_held_and_weights_once() -> None:
    layer = nn.Linear(256, 256, bias=False)
    assert weight_bytes([layer, nn.Sequential(layer), len]) == 4 * 256 * 256

    def call() -> None:
        for _ in range(3):
            one = torch.zeros(1000)
            other = one[10:] + 1
            del one, other

    assert peak_bytes(call, CPU) == 4 * (1000 + 990)
