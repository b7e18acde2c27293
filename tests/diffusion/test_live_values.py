"""Every live value, with all that can be steered on: none asks for an engine or a new recording.

Values are made from the declarations, so that a new parameter is changed here too.
"""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from pydantic.fields import FieldInfo

from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.engines.builder import EngineBuilder
from streamcam.engines.graphed_calls import GraphedCalls
from streamcam.engines.store import Store
from streamcam.frames.copy_streams import CALLS_AT_ONCE
from streamcam.models.random_models import random_pipeline
from streamcam.settings.base import literal_values, traits
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.named_numbers import is_named_numbers
from streamcam.settings.number_range import Range
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import is_prompt
from streamcam.types import Frame
from tests.diffusion.test_graphed_frames import Graphed
from tests.support.ip_adapters import save_ip_adapter
from tests.support.loras import TEXT_OUT, UNET_KEY, UNET_QUERY, pair, save_peft
from tests.support.streams import TINY, moving

MANY = 1000
"""Taken for the end of a range that has none."""
TEXTS = ("a (red:1.4) dog [in the snow] BREAK at night", "word " * 90)
SWITCHES = (
    "controlnet_scale",
    "controlnet_start",
    "controlnet_end",
    "output_blend",
    "guidance_rescale",
)
"""Values that switch models on and off: each combination is recorded once, without an engine."""


def others(name: str, field: FieldInfo, config: Config) -> list[Any]:  # noqa: PLR0911
    """Return values of a live parameter that differ from what it is at start, its ends included."""
    start = getattr(config.live, name)
    if is_prompt(field):
        return [[(text, 1.0) for text in TEXTS], TEXTS[0], TEXTS[1]]
    if is_named_numbers(field):
        ends = Range.of_each(field)[:2]
        each = [{which: end} for which, _ in start for end in (*ends, 0.5)]
        assert each, f"{name} has no names in this test"
        return each
    if field.annotation is bool:
        return [not start, start]
    if words := literal_values(field):
        return [word for word in words if word != start]
    if traits(field).trigger:
        return [start + 1]
    if range_ := Range.of_field(field):
        low = config.num_steps if name == "num_inference_steps" else -MANY
        return [range_.clamp(end) for end in (low, MANY, 0.5 if low < 0 else MANY / 10)]
    assert name == "t_index_list", f"{name} is of a new type: say here how to change it"
    return [[5, 25], [0, 49]]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings with every feature on that live values steer."""
    folder = tmp_path_factory.mktemp("everything")
    pipe = random_pipeline("tiny-sd-turbo")
    shapes = {name: weight.shape for name, weight in pipe.unet.state_dict().items()}
    text = pipe.text_encoder.get_submodule(TEXT_OUT).weight.shape
    for number, name in enumerate(("ink", "neon")):
        layers = {layer: pair(shapes[f"{layer}.weight"]) for layer in (UNET_QUERY, UNET_KEY)}
        words = {TEXT_OUT: pair(text)}
        save_peft(folder / f"{name}.safetensors", layers, words if number else None)
    Pillow.fromarray(moving(1, seed=9)[0].image).save(folder / "waves.png")
    return {
        "lora": {str(folder / f"{name}.safetensors"): 0.5 for name in ("ink", "neon")},
        "controlnet": {"random:a": 1.0, "random:adapter": 0.5},
        "control": {"a": "edges", "adapter": "image"},
        "ip_adapter": str(save_ip_adapter(folder, pipe.unet, "plain")),
        "image_prompt": {str(folder / "waves.png"): 0.5},
        "temporal_memory": "features",
        "region_mask": "person",
        "prompt_syntax": "weighted",
        "sampler": "tcd",
        "num_inference_steps": 50,
        "steps": 2,
        "warmup": 1,
        "canvas": "64x64",
    }


@pytest.fixture(scope="module")
def model(everything: dict[str, Any]) -> ImageModel:
    return load_image_model(build_config([TINY, everything]), lambda _: None)


class Requests(EngineBuilder):
    """Lists the stages that an engine is asked for, and gives each one that repeats one result."""

    def __init__(self, folder: Path) -> None:
        super().__init__([], Store(folder), print, builder=None, waits=True)
        self.stages: list[str] = []

    def request(self, flat: Any, tensors: Any, weights_hash: str, activate: Any) -> None:  # noqa: ARG002
        self.stages.append(type(flat.stage).__name__)
        result = flat(*tensors)
        activate(lambda *_: result.clone())


class Captures:
    """Counts the calls that are recorded, and runs them again as they are."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, call: Any) -> Any:
        self.count += 1
        return call


def accelerated(model: ImageModel, builder: EngineBuilder) -> ImageModel:
    """Return `model` with every stage given to `builder`, as when it is loaded."""
    stages: Any = model
    return model._replace(
        encode=builder(stages.encode),
        denoise=builder(stages.denoise),
        decode=builder(stages.decode),
        region_mask=builder(stages.region_mask),
        controls=[control.accelerated(builder) for control in model.controls],
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"cfg_type": "initialize"},
        {"cfg_type": "full", "use_denoising_batch": False},
        {"cfg_type": "self", "frame_buffer_size": 2},
    ],
    ids="-".join,
)
def test_no_live_value_asks_for_an_engine_or_is_a_reason_to_record(
    model: ImageModel, everything: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    config = build_config([TINY, everything, settings])
    requests, captures = Requests(tmp_path), Captures()
    models = accelerated(copy.deepcopy(model), requests)
    graphs = partial(GraphedCalls, captures, lambda _: None)
    stream, live = Graphed(models, config, graphs=graphs).graphed, config.live
    stream.warm_up()
    asked, recorded = len(requests.stages), captures.count
    assert asked >= len({"encode", "denoise", "decode", "region_mask", "a", "adapter"})
    assert recorded
    grey = np.full((64, 64, 3), 128, np.uint8)

    def run(changes: dict[str, Any]) -> None:
        parameters = config.changed(live, changes)
        for index in range(config.frame_buffer_size):
            stream(Frame(grey, index, 0.0), parameters)

    for name, field in Parameters.model_fields.items():
        for value in others(name, field, config):
            run({name: value})
            assert len(requests.stages) == asked, (name, value, requests.stages[asked:])
            if name not in SWITCHES:
                assert captures.count == recorded, (name, value)
        run({})
        recorded = captures.count


def test_everything_at_once_is_recorded_whole_and_follows_every_live_value(
    model: ImageModel, everything: dict[str, Any]
) -> None:
    config = build_config([TINY, everything, {"cfg_type": "initialize"}])
    both = Graphed(copy.deepcopy(model), config)
    live: dict[int, dict[str, Any]] = {
        8: {"lora_scale": {"ink": -1, "neon": 2}, "image_prompt_scale": {"waves": 1.5}},
        9: {"controlnet_scale": {"random_a": 0.3}, "temporal_strength": 0.2, "eta": 1},
        10: {"strength_person": 0.1, "noise_follow": True, "image_prompt_grab": 1},
    }
    both.assert_same([frame.image for frame in moving(12)], live)
    assert both.graphs.captures == CALLS_AT_ONCE
    assert not any("without" in line for line in both.reports)
