"""Memory of past frames: equal to a plain computation, bounded, and blind after cuts."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stages import Condition, Denoise
from streamcam.diffusion.steering import LayerInputs, MemoryInputs, Steering, unpacked
from streamcam.diffusion.temporal_memory import MAX_TOKENS, enable_temporal_memory
from streamcam.engines.flat_stage import flatten_args
from streamcam.errors import ConfigError
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from tests.support.streams import TINY, RecordingStream

STRENGTH, LENGTH, THRESHOLD = 0.7, 4.0, 0.6


def swaying(count: int, *, cut_at: int | None = None) -> list[Frame]:
    """Return frames of one scene that moves a little, or of another from `cut_at` on."""
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (2, 64, 64, 3)).repeat(4, 1).repeat(4, 2)
    return [
        Frame(
            np.roll(scenes[int(cut_at is not None and i >= cut_at)], i, axis=1)[:64, :64].astype(
                np.uint8
            ),
            i,
            i / 30,
        )
        for i in range(count)
    ]


# ---- the plain computation: token by token, each with a list of its own


class PlainMemory:
    """Bank of one layer, as lists of tokens for each row."""

    def __init__(self) -> None:
        self.past: list[list[Tensor]] = []

    def match(self, row: int, token: Tensor, mean: Tensor) -> tuple[int, float]:
        past = self.past[row]
        cosines = [float(F.cosine_similarity(token - mean, t - mean, dim=0)) for t in past]
        best = max(range(len(past)), key=cosines.__getitem__)
        return best, min(1.0, max(0.0, 2 * (cosines[best] - THRESHOLD) / (1 - THRESHOLD)))

    def history(self, row: int, token: Tensor, found: tuple[int, float]) -> Tensor:
        best, match = found
        mean = self.past[row][best] * (1 - 1 / LENGTH) + token / LENGTH
        return match * mean + (1 - match) * token


class PlainAttention:
    """Self-attention over the tokens of a frame and past ones, which count less."""

    def __init__(self, *, fuses: bool) -> None:
        self.keys, self.values, self.outputs = PlainMemory(), PlainMemory(), PlainMemory()
        self.fuses = fuses

    def __call__(self, attn: Any, states: Tensor, *_: Any, **__: Any) -> Tensor:
        rows, length = len(states), states.shape[1]
        is_new = not self.keys.past
        query, key, value = attn.to_q(states), attn.to_k(states), attn.to_v(states)
        outputs = []
        for row in range(rows):
            keys, values = list(key[row]), list(value[row])
            weights = [1.0] * length
            if not is_new:
                keys += self.keys.past[row]
                values += self.values.past[row]
                weights += [STRENGTH] * length
            outputs.append(self.attend(attn, query[row], keys, values, weights))
        result = attn.to_out[0](torch.stack(outputs))
        for_bank = [(self.keys, key), (self.values, value)]
        merged: list[list[list[Tensor]]] = [[], []]
        for row in range(rows):
            mean, found = key[row].mean(0), [(0, 0.0)] * length
            if not is_new:
                found = [self.keys.match(row, k, mean) for k in key[row]]
            for (memory, new), into in zip(for_bank, merged, strict=True):
                into.append(
                    list(new[row])
                    if is_new
                    else [memory.history(row, t, f) for t, f in zip(new[row], found, strict=True)]
                )
        self.keys.past, self.values.past = merged
        return fused_plainly(result, self.outputs) if self.fuses else result

    @staticmethod
    def attend(
        attn: Any, query: Tensor, keys: list[Tensor], values: list[Tensor], weights: list[float]
    ) -> Tensor:
        heads = []
        for part in torch.arange(query.shape[-1]).chunk(attn.heads):
            logits = query[:, part] @ torch.stack(keys)[:, part].T / math.sqrt(len(part))
            likely = torch.tensor(weights) * torch.exp(logits - logits.max())
            heads.append(likely / likely.sum(1, keepdim=True) @ torch.stack(values)[:, part])
        return torch.cat(heads, dim=-1)


def fused_plainly(states: Tensor, memory: PlainMemory) -> Tensor:
    if not memory.past:
        memory.past = [list(row) for row in states]
        return states
    memory.past = [
        [memory.history(i, token, memory.match(i, token, row.mean(0))) for token in row]
        for i, row in enumerate(states)
    ]
    history = torch.stack([torch.stack(row) for row in memory.past])
    return states + STRENGTH * (history - states)


def without_attention_on_the_way_up() -> Any:
    """Return a U-Net in the layout of nano's."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
    )


def plain_twin(unet: Any, *, features: bool) -> Any:
    """Return a copy of `unet` with the plain computation."""
    twin = copy.deepcopy(unet)
    last = len(unet.config.block_out_channels) - 1
    names = [name for name in unet.attn_processors if "transformer_blocks.0.attn1" in name]
    fused = {"mid_block", *(f"up_blocks.{i}" for i in range(last))} if features else set()
    processors = dict(twin.attn_processors)
    for name in names:
        processors[name] = PlainAttention(fuses=any(name.startswith(f"{b}.") for b in fused))
    twin.set_attn_processor(processors)
    return twin


def call_of(unet: Any) -> tuple[Tensor, Condition]:
    generator = torch.Generator().manual_seed(0)
    embeds = torch.randn(2, 7, unet.config.cross_attention_dim, generator=generator)
    pooled = time_ids = None
    if unet.config.addition_embed_type == "text_time":
        pooled, time_ids = torch.randn(2, 64, generator=generator), torch.ones(2, 6)
    return torch.randn(2, 4, 6, 4, generator=generator), Condition(embeds, pooled, time_ids)


@pytest.mark.parametrize("features", [False, True], ids=["attention", "features"])
@pytest.mark.parametrize("family", ["sd-1.5", "sd-2.1", "sdxl", "nano"])
@torch.inference_mode()
def test_the_memory_equals_a_plain_computation(family: str, *, features: bool) -> None:
    unet = (
        without_attention_on_the_way_up()
        if family == "nano"
        else random_pipeline(f"tiny-{family}").unet
    ).eval()
    alphas_cumprod, inputs = torch.linspace(0.99, 0.01, 1000), LayerInputs()
    plain = Denoise(plain_twin(unet, features=features), "epsilon", alphas_cumprod)
    never = Denoise(copy.deepcopy(unet), "epsilon", alphas_cumprod)
    values = enable_temporal_memory(unet, inputs, (6, 4), features=features)
    stage = Denoise(unet, "epsilon", alphas_cumprod, inputs)
    (x_t, condition), timesteps = call_of(unet), torch.tensor([300, 100])
    bank, moved = torch.zeros(2, values), 0.0
    for i in range(3):
        x_t = x_t.roll(1, 3) + 0.05 * i
        strength, weight, threshold = torch.tensor([STRENGTH, 1 / LENGTH, THRESHOLD]).unbind()
        is_open = torch.full((2, 1), float(i > 0))
        memory = MemoryInputs(bank, strength, weight, threshold, is_open)
        result = stage(x_t, timesteps, condition, Steering(memory=memory))
        noise, bank = unpacked(result, x_t.shape)
        torch.testing.assert_close(noise, plain(x_t, timesteps, condition), atol=1e-4, rtol=1e-4)
        assert bank.shape == (2, values)
        moved = float((noise - never(x_t, timesteps, condition)).abs().max())
    assert moved > 1e-4


def test_a_layer_keeps_a_bounded_number_of_tokens() -> None:
    unet = random_pipeline("tiny-sd-1.5").unet
    small = enable_temporal_memory(unet, LayerInputs(), (16, 16), features=True)
    large, larger = (
        enable_temporal_memory(unet, LayerInputs(), size, features=True)
        for size in ((256, 256), (512, 512))
    )
    assert small < large
    assert larger <= large * 1.01
    layers = sum(name.endswith("0.attn1") for name, _ in unet.named_modules())
    assert large <= 3 * layers * MAX_TOKENS * max(unet.config.block_out_channels)


@pytest.fixture(scope="module")
def models() -> dict[str, ImageModel]:
    """The same weights, with each kind of memory."""
    return {
        memory: load_image_model(
            build_config([TINY, {"t_index_list": "10,30", "temporal_memory": memory}]),
            report=lambda _: None,
        )
        for memory in ("off", "features")
    }


def latents(
    models: dict[str, ImageModel], frames: list[Frame], *, memory: str = "features", **settings: Any
) -> Tensor:
    base = {"t_index_list": "10,30", "temporal_memory": memory, "temporal_threshold": 0.5}
    stream = RecordingStream(models[memory], **base | settings)
    stream(frames)
    return torch.stack(stream.latents)[: len(frames)]


MODES: list[dict[str, Any]] = [
    {"cfg_type": "none"},
    {"cfg_type": "self"},
    {"cfg_type": "initialize"},
    {"cfg_type": "full", "guidance_scale": 1.5},
    {"cfg_type": "initialize", "frame_buffer_size": 2},
]


@pytest.mark.parametrize("settings", MODES, ids=str)
def test_strength_0_is_off_and_any_other_is_not(
    models: dict[str, ImageModel], settings: dict[str, Any]
) -> None:
    frames = swaying(4)
    off = latents(models, frames, memory="off", **settings)
    zero = latents(models, frames, temporal_strength=0, **settings)
    full = latents(models, frames, temporal_strength=1, **settings)
    torch.testing.assert_close(zero, off, atol=1e-5, rtol=1e-5)
    assert (full - off).abs().max() > 1e-4


@pytest.mark.parametrize("settings", MODES, ids=str)
def test_steps_one_by_one_remember_what_the_batch_remembers(
    models: dict[str, ImageModel], settings: dict[str, Any]
) -> None:
    frames = swaying(6, cut_at=4)
    batch = latents(models, frames, **settings)
    one_by_one = latents(models, frames, use_denoising_batch=False, **settings)
    torch.testing.assert_close(batch, one_by_one, atol=1e-4, rtol=1e-4)


def test_nothing_of_the_scene_before_a_cut_is_left_after_it(models: dict[str, ImageModel]) -> None:
    after = latents(models, swaying(6, cut_at=3))[3:]
    alone = latents(models, swaying(6, cut_at=0)[3:])
    torch.testing.assert_close(after, alone, atol=1e-5, rtol=1e-5)


def test_a_reset_forgets(models: dict[str, ImageModel]) -> None:
    frames = swaying(4)
    stream = RecordingStream(models["features"], temporal_memory="features", t_index_list="10,30")
    stream(frames + [Frame(f.image, f.index + 4, 1.0) for f in frames], {4: {"reset": 1}})
    first, second = torch.stack(stream.latents[:4]), torch.stack(stream.latents[4:])
    assert torch.equal(first, second)


def test_memory_and_cross_frame_attention_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="temporal_memory and cross_frame_attention"):
        build_config([TINY, {"temporal_memory": "attention", "cross_frame_attention": True}])


def test_live_values_make_no_other_kind_of_call(models: dict[str, ImageModel]) -> None:
    kinds = set()

    def denoise(*args: Any) -> Tensor:
        kinds.add(flatten_args(args)[1])
        return models["features"].denoise(*args)

    recording = models["features"]._replace(denoise=denoise)
    stream = RecordingStream(recording, temporal_memory="features", t_index_list="10,30")
    live: list[dict[str, Any]] = [
        {"temporal_strength": 0},
        {"temporal_length": 30, "temporal_threshold": 0.5},
        {"temporal_strength": 1, "output_blend": 0.5},
        {"noise_follow": True},
    ]
    stream(swaying(6, cut_at=4), dict(enumerate(live, 1)))
    assert len(kinds) == 1
