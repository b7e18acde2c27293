"""Benchmark of steering: what each way costs in time and memory, on the same weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from streamcam.bench.cases import Case, Row, measured, stream_case
from streamcam.bench.frame_memory import peak_bytes, weight_bytes
from streamcam.bench.harness import changed, no_report, with_shared_weights
from streamcam.bench.random_loras import with_random_loras
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel, from_pipeline
from streamcam.engines.placement import place
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.controlnet import load_controls
from streamcam.settings.config import Config
from streamcam.settings.config_layers import split_layer
from streamcam.types import Image

LORA_RANK = 16
"""A usual one."""
OFF = "nothing"
IMAGE_PROMPTS = "image prompts"
WAYS: dict[str, dict[str, Any]] = {
    OFF: {},
    "weighted prompt": {"prompt_syntax": "weighted", "prompt": "a (red:1.3) house [at night]"},
    "1 LoRA": {"lora": {"lora0": 1.0}},
    "3 LoRAs": {"lora": {f"lora{i}": 1.0 for i in range(3)}},
    "ControlNet of edges": {"controlnet": {"random:net": 1.0}, "control": {"net": "edges"}},
    "the same at scale 0": {"controlnet": {"random:net": 0.0}, "control": {"net": "edges"}},
    "T2I-Adapter": {"controlnet": {"random:adapter": 1.0}, "control": {"adapter": "image"}},
    "strength by region": {"region_mask": "person", "strength_person": 0.1},
    "memory, attention": {"temporal_memory": "attention"},
    "memory, features": {"temporal_memory": "features"},
    "output_blend": {"output_blend": 0.5},
    "noise_follow": {"noise_follow": True},
    IMAGE_PROMPTS: {},
}
"""Settings of each way."""
FROM_CAMERA = ("strength by region", "memory, attention", "memory, features", "output_blend")
"""Ways that need a camera image to start from."""


def steering_costs(
    config: Config,
    scene: Sequence[Image],
    rounds: int,
    ways: Mapping[str, dict[str, Any]] = WAYS,
) -> Iterator[Row]:
    """Yield a line for each way to steer the model of `config`.

    Args:
        config: its image prompts are measured, if it has any; all else that steers is left out.
        scene: the camera's images, over and over.
        rounds: frames of each that are timed.
        ways: settings by name; the first one, `OFF`, is what the others are compared with.
    """
    base, placement = _unsteered(config), place(config)
    pipe = load_pipeline(base, placement.weights_dtype, no_report, placement.device)
    cases, memory = list[Case](), dict[str, tuple[int, int]]()
    for name, values in ways.items():
        if name in FROM_CAMERA and config.mode == "txt2img":
            continue
        if name == IMAGE_PROMPTS and not config.ip_adapter:
            continue
        steered = _with_images(base, config) if name == IMAGE_PROMPTS else _with(base, values)
        model = _model(pipe, steered)
        case = stream_case(name, model, steered, scene)
        case.run(steered.num_steps + 1)
        kept = weight_bytes(_modules(model)) + _past_frames(model, steered)
        memory[name] = kept, peak_bytes(case.step, model.device)
        none = memory[OFF]
        case.note = lambda found=memory[name], none=none: _note(*found, *none)  # type: ignore[misc]
        cases.append(case)
    yield from measured("steering", cases, rounds, warm_up=2)


def _note(kept: int, peak: int, kept_of_none: int, peak_of_none: int) -> str:
    more = f"{(kept - kept_of_none) / 1e6:+.2f} MB kept"
    return f"{more}, {(peak - peak_of_none) / 1e6:+.2f} MB in a frame"


def _past_frames(model: ImageModel, config: Config) -> int:
    """Return the bytes of the memory of past frames."""
    n = config.num_steps
    rows = n + GUIDANCE[config.cfg_type].negative_rows(n)
    return model.memory_values * rows * config.frame_buffer_size * torch.float32.itemsize


def _model(pipe: Any, config: Config) -> ImageModel:
    device, dtype = place(config).device, place(config).weights_dtype
    own = with_shared_weights(pipe)
    if config.lora:
        own = with_random_loras(pipe, count=len(config.lora), rank=LORA_RANK)
    controls = load_controls(config, own.unet, dtype, no_report)
    return from_pipeline(own, config, device, no_report, controls=controls, builds_here=True)


def _modules(model: ImageModel) -> list[object]:
    stages: list[Any] = [model.encode, model.denoise, model.decode, model.region_mask]
    stages += [control.predict for control in model.controls]
    modules = [getattr(stage, "stage", stage) for stage in stages]
    return [*modules, *([model.image_prompts.adapter] if model.image_prompts else [])]


def _unsteered(config: Config) -> Config:
    off: dict[str, Any] = {
        "lora": {},
        "controlnet": {},
        "control": {},
        "control_type": {},
        "ip_adapter": None,
        "image_encoder": None,
        "image_prompt": {},
        "temporal_memory": "off",
        "region_mask": "off",
    }
    of_names = ("lora_scale", "controlnet_scale", "controlnet_start", "controlnet_end")
    live: dict[str, Any] = dict.fromkeys((*of_names, "image_prompt_scale"), ())
    live |= {"output_blend": 0.0, "noise_follow": False}
    return changed(config, **off, live=config.live.model_copy(update=live))


def _with(base: Config, values: dict[str, Any]) -> Config:
    fixed, live = split_layer(values)
    return changed(base, **fixed, live=base.live.changed(live))


def _with_images(base: Config, config: Config) -> Config:
    names = ("ip_adapter", "image_encoder", "image_prompt")
    scales = {"image_prompt_scale": config.live.image_prompt_scale}
    live = base.live.model_copy(update=scales)
    return changed(base, **{name: getattr(config, name) for name in names}, live=live)
