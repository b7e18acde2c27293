"""Attention: a cached prompt equals an uncached one, cross-frame attention a direct computation."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from streamcam.diffusion.attention import (
    CrossFrameAttention,
    PromptCache,
    enable_cross_frame_attention,
    fuse_self_attention,
)
from streamcam.diffusion.image_model import from_pipeline
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config_layers import build_config
from tests.support.streams import TINY, RecordingStream, images, moving

FAMILIES = ("sd-1.5", "sd-2.1", "sd-turbo", "sdxl")


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_cached_keys_and_values_give_what_the_unet_computes_itself(family: str) -> None:
    plain = random_pipeline(f"tiny-{family}").unet.eval()
    cached = copy.deepcopy(plain)
    add_prompt_kv = PromptCache(cached)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 8, 8, generator=generator)
    embeds = torch.randn(3, 77, plain.config.cross_attention_dim, generator=generator)
    added = None
    if family == "sdxl":
        added = {"text_embeds": torch.randn(3, 64), "time_ids": torch.ones(3, 6)}
    timesteps = torch.tensor([999, 500, 19])

    def run(unet: Any, states: torch.Tensor) -> torch.Tensor:
        return unet(x, timesteps, states, added_cond_kwargs=added, return_dict=False)[0]

    torch.testing.assert_close(
        run(cached, add_prompt_kv(embeds)), run(plain, embeds), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("mode", ["self", "initialize", "full"])
def test_streams_with_and_without_the_cache_give_the_same_images(mode: str) -> None:
    changes = {2: {"prompt": "a red dog"}, 3: {"negative_prompt": "cats"}}
    cached, plain = (
        RecordingStream(cache_prompt_kv=state, cfg_type=mode)(moving(6), changes)
        for state in (True, False)
    )
    assert abs(images(cached).astype(int) - images(plain)).max() <= 1


@pytest.mark.parametrize("across_frames", [False, True])
@torch.inference_mode()
def test_fused_projections_give_what_three_give_and_replace_them(across_frames: bool) -> None:
    plain = random_pipeline("tiny-sd-turbo").unet.eval().requires_grad_(False)
    fused = copy.deepcopy(plain)
    fuse_self_attention(fused)
    if across_frames:
        for unet in (plain, fused):
            enable_cross_frame_attention(unet, [3])
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 8, 8, generator=generator)
    embeds = torch.randn(3, 77, plain.config.cross_attention_dim, generator=generator)
    ours, expected = (
        unet(x, torch.tensor([999, 500, 19]), embeds, return_dict=False)[0]
        for unet in (fused, plain)
    )
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    names = {name for name, _ in fused.named_parameters()}
    assert any(name.endswith("attn1.to_qkv.weight") for name in names)
    assert not any("attn1.to_q." in name or "attn1.to_k." in name for name in names)
    assert sum(map(torch.Tensor.numel, fused.parameters())) == sum(
        map(torch.Tensor.numel, plain.parameters())
    )
    assert not any(parameter.requires_grad for parameter in fused.parameters())


def test_a_unet_that_adds_text_to_the_time_embedding_gets_the_embeddings_only() -> None:
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=32,
            addition_embed_type="text",
            addition_embed_type_num_heads=4,
            norm_num_groups=8,
        ).eval()
    cached = copy.deepcopy(plain)
    add_prompt_kv = PromptCache(cached)
    x, embeds = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 32)
    with torch.inference_mode():
        expected = plain(x, 500, embeds, return_dict=False)[0]
        ours = cached(x, 500, add_prompt_kv(embeds), return_dict=False)[0]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("groups", [[4], [1, 4], [4, 4], [2, 6]])
@torch.inference_mode()
def test_cross_frame_attention_equals_attention_with_concatenated_keys_and_values(
    groups: list[int],
) -> None:
    attn = random_pipeline("tiny-sd-turbo").unet.down_blocks[0].attentions[0]
    attn = attn.transformer_blocks[0].attn1
    states = torch.randn(sum(groups), 10, attn.query_dim)
    ours = CrossFrameAttention(groups)(attn, states)

    expected, start = [], 0
    for count in groups:
        group = states[start : start + count]
        start += count
        keys = torch.cat([attn.to_k(row) for row in group])
        values = torch.cat([attn.to_v(row) for row in group])
        for row in group:
            query = attn.to_q(row)
            heads = [t.view(len(t), attn.heads, -1).transpose(0, 1) for t in (query, keys, values)]
            scores = heads[0] @ heads[1].transpose(1, 2) / heads[0].shape[-1] ** 0.5
            joined = (F.softmax(scores, dim=-1) @ heads[2]).transpose(0, 1).flatten(1)
            expected.append(attn.to_out[0](joined))
    torch.testing.assert_close(ours, torch.stack(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["none", "self", "initialize", "full"])
@pytest.mark.parametrize("f", [1, 2])
def test_cross_frame_attention_runs_in_every_mode(mode: str, f: int) -> None:
    joined = RecordingStream(cross_frame_attention=True, cfg_type=mode, frame_buffer_size=f)
    alone = RecordingStream(cfg_type=mode, frame_buffer_size=f)
    out, without = joined(moving(5)), alone(moving(5))
    assert [frame.index for frame in out] == list(range(5))
    assert not (images(out) == images(without)).all()


def test_cross_frame_attention_changes_nothing_for_a_single_row() -> None:
    joined = RecordingStream(cross_frame_attention=True, t_index_list="40")
    assert (
        images(joined(moving(3))) == images(RecordingStream(t_index_list="40")(moving(3)))
    ).all()


def test_cross_frame_attention_only_attends_to_real_frames() -> None:
    """The first image of a still scene is like the later ones: no empty row was attended to."""
    still = [moving(1)[0]] * 8
    frames = [type(f)(f.image, i, i / 30) for i, f in enumerate(still)]
    out = images(RecordingStream(cross_frame_attention=True, t_index_list="20,40")(frames))
    assert abs(out.astype(int) - out[-1]).mean() < 0.5


def test_every_attention_processor_of_a_pipeline_is_replaced() -> None:
    pipe = random_pipeline("tiny-sd-turbo")
    config = build_config([TINY, {"cross_frame_attention": True}])
    from_pipeline(pipe, config, torch.device("cpu"))
    kinds = {type(p).__name__ for p in pipe.unet.attn_processors.values()}
    assert kinds == {"CachedCrossAttention", "CrossFrameAttention"}
