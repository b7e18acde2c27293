"""KV cache: new prompts, refreshed sink tokens, positions that go back."""

from itertools import product

import pytest
import torch
from torch import Tensor

from streamcam.video.cache_plan import CacheShape, Cursor, plan_chunk
from streamcam.video.causal_layers import Layers
from streamcam.video.flow_matching import FlowSchedule, Steps
from streamcam.video.kv_cache import KVCache, shifted_keys
from streamcam.video.rollout import Rollout
from streamcam.video.rotary import apply_rotary, phase_angles
from streamcam.video.wan import CausalWan
from tests.video.test_reference import transformer as attentive
from tests.video.video_goldens import close
from tests.video.video_streams import loaded

SHAPE = CacheShape(slots=6, sink_tokens=2)
STEPS = Steps((700, 400), FlowSchedule.shifted(8))


def transformer() -> CausalWan:
    model = CausalWan(loaded("wan", "wan").layers.model.transformer, (4, 6))
    return model.eval()


def latents(frames: int, seed: int) -> Tensor:
    return torch.randn(frames, 16, 4, 6, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> Tensor:
    return torch.randn(1, 8, 32, generator=torch.Generator().manual_seed(seed))


def run(model: CausalWan, prompt: Tensor, chunks: int, *, threshold: float = -1.0) -> Rollout:
    """Return a rollout of a first chunk of two frames and `chunks - 1` of one."""

    def noise(like: Tensor, _step: int) -> Tensor:
        return torch.ones_like(like)

    rollout = Rollout(Layers(model), prompt, SHAPE, STEPS, noise, sink_threshold=threshold)
    rollout.denoise_sequentially(latents(2, 0), 700)
    rollout.copy_row()
    for k in range(1, chunks):
        rollout.advance(latents(1, k), 700)
    return rollout


@torch.inference_mode()
def test_recaching_the_same_prompt_changes_nothing_while_all_frames_are_held() -> None:
    model = transformer()
    prompt = text(1)
    rollout = run(model, prompt, chunks=4)
    before = [tensor.clone() for tensor in rollout._layers.cache]
    rollout.recache(prompt)
    for kept, tensor in zip(before, rollout._layers.cache, strict=True):
        close(tensor, kept)


@torch.inference_mode()
def test_recaching_another_prompt_gives_the_first_step_the_cache_of_that_prompt() -> None:
    model = transformer()
    old, new = text(1), text(2)
    rollout, always = run(model, old, chunks=4), run(model, new, chunks=4)
    # Inputs of later steps come from the old prompt; those of row 0 are the noised camera alone,
    # apart from the first chunk, whose last step every row keeps.
    assert not torch.allclose(
        rollout._layers.cache.values[1, 0], always._layers.cache.values[1, 0], atol=1e-4
    )
    fed = rollout._inputs[0, 2:5]
    rollout.recache(new)
    close(fed, always._inputs[0, 2:5])
    changed = (
        (rollout._layers.cache.values[1, 0, 2:5] - always._layers.cache.values[1, 0, 2:5])
        .abs()
        .max()
    )
    assert changed < 0.1 * always._layers.cache.values[1, 0, 2:5].abs().max()


def after_a_cut(model: CausalWan, shape: CacheShape, threshold: float) -> Rollout:
    """Return a rollout with no chunk in flight, long after a cut to another scene."""

    def frames(count: int, seed: int) -> Tensor:
        return 0.7 * latents(1, 100 + (seed > 2)) + 0.7 * latents(count, seed)

    rollout = Rollout(
        Layers(model),
        text(1),
        shape,
        STEPS,
        lambda x, _: torch.ones_like(x),
        sink_threshold=threshold,
    )
    rollout.denoise_sequentially(frames(2, 0), 700)
    rollout.copy_row()
    for k in range(1, 14):
        rollout.advance(frames(1, k), 700)
    rollout.advance()
    return rollout


def next_chunk(rollout: Rollout) -> Tensor:
    rollout.advance(0.7 * latents(1, 101) + 0.7 * latents(1, 99), 700)
    done = rollout.advance()
    assert done is not None
    return done


@pytest.mark.parametrize("realign", [False, True])
@pytest.mark.parametrize("threshold", [-1.0, 0.2, 0.6, 0.9])
@torch.inference_mode()
def test_recaching_the_same_prompt_does_not_bring_an_earlier_scene_back(
    threshold: float, realign: bool
) -> None:
    model = CausalWan(attentive(text_dim=32, num_layers=3), (4, 6))
    shape = CacheShape(6, 3, position_limit=9, realign=realign)
    expected = next_chunk(after_a_cut(model, shape, threshold))
    rollout = after_a_cut(model, shape, threshold)
    rollout.recache(text(1))
    assert (next_chunk(rollout) - expected).abs().max() < 0.02


@torch.inference_mode()
def test_each_layer_keeps_its_own_sink_tokens_through_a_recache() -> None:
    model = CausalWan(attentive(text_dim=32, num_layers=3), (4, 6))
    shape = CacheShape(6, 3)
    never, rollout = after_a_cut(model, shape, -1.0), after_a_cut(model, shape, 0.35)
    cache, before = rollout._layers.cache, KVCache(*(x.clone() for x in rollout._layers.cache))
    for run in (never, rollout):
        run.recache(text(2))
    seen = set()
    for layer, row, sink in product(range(3), range(2), range(3)):
        frame = int(cache.sink_frames[layer, row, sink])
        slot = shape.slot(frame)
        window = rollout._cached_frames[row][slot].frame == frame
        seen.add("first" if frame == sink else "window" if window else "gone")
        if frame == sink:  # Still a first frame: computed again, from first frames alone.
            expected = [x[layer, row, sink] for x in never._layers.cache[:2]]
        elif window:
            expected = [x[layer, row, slot] for x in cache[:2]]
        else:
            expected = [x[layer, row, sink] for x in before[:2]]
        for tensor, wanted in zip(cache[:2], expected, strict=True):
            close(tensor[layer, row, sink], wanted)
    assert seen == {"first", "window", "gone"}


@torch.inference_mode()
def test_a_new_video_has_its_own_first_frames_as_sink_tokens() -> None:
    layers = Layers(transformer())
    for k in (0, 50):
        rollout = Rollout(
            layers, text(1), SHAPE, STEPS, lambda x, _: torch.ones_like(x), sink_threshold=1.0
        )
        rollout.denoise_sequentially(latents(2, k), 700)
        before = layers.cache.keys.clone()
        rollout.recache(text(1))
        close(layers.cache.keys[:, 0, :2], before[:, 0, :2])
        rollout.denoise_sequentially(latents(1, k + 1), 700)


@pytest.mark.parametrize("shift", [-45, 3])
def test_shifted_keys_are_those_of_the_other_position(shift: int) -> None:
    head_dim, temporal = 24, 8
    keys = torch.randn(3, 4, 2, head_dim)

    def at(position: int) -> Tensor:
        angle = phase_angles([[position]], temporal)[0, 0].float()
        turn = apply_rotary(keys[..., :temporal], angle.cos(), angle.sin())
        return torch.cat([turn, keys[..., temporal:]], -1)

    close(shifted_keys(at(48), shift), at(48 + shift))


def cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.mean(0).flatten(), b.mean(0).flatten()
    return float(a @ b / (a.norm() * b.norm()))


@pytest.mark.parametrize("threshold", [-1.0, 0.05, 1.0])
def test_a_stale_sink_token_is_replaced_by_the_new_frame_and_the_window_keeps_it(
    threshold: float,
) -> None:
    torch.manual_seed(0)
    shape, first = (5, 1, 6, 7, 2, 24), torch.tensor([0, 1]).repeat(5, 1, 1)
    cache = KVCache(torch.randn(shape), torch.randn(shape), first)
    before = KVCache(*(tensor.clone() for tensor in cache))
    _, cursor = plan_chunk(SHAPE, Cursor(), 2)
    chunk, _ = plan_chunk(SHAPE, cursor, 1)
    slot, frame = torch.tensor([chunk.slots[0]]), torch.tensor(chunk.frame)
    cache.refresh_sink_tokens(0, slot, frame, chunk.sink_shifts, threshold)
    new = chunk.slots[0]
    for layer in range(5):
        keys, values = before.keys[layer, 0], before.values[layer, 0]
        alike = [
            (cosine(keys[sink], keys[new]) + cosine(values[sink], values[new])) / 2
            for sink in range(2)
        ]
        for tensor, old in ((cache.keys, keys), (cache.values, values)):
            expected = old.clone()
            if min(alike) < threshold:
                expected[alike.index(min(alike))] = old[new]
            close(tensor[layer, 0], expected)


@torch.inference_mode()
def test_chunks_of_several_frames_and_the_first_chunk_leave_sink_tokens_unchanged() -> None:
    model = transformer()
    rollout = Rollout(
        Layers(model),
        text(1),
        SHAPE,
        STEPS,
        lambda like, _: torch.zeros_like(like),
        sink_threshold=1.0,
    )
    rollout.denoise_sequentially(latents(2, 0), 700)
    sink_tokens = rollout._layers.cache.keys[:, 0, :2].clone()
    rollout.denoise_sequentially(latents(2, 1), 700)
    close(rollout._layers.cache.keys[:, 0, :2], sink_tokens)
    rollout.denoise_sequentially(latents(1, 2), 700)
    assert not torch.allclose(rollout._layers.cache.keys[:, 0, :2], sink_tokens)


@torch.inference_mode()
def test_chunks_of_another_length_can_overtake_those_in_flight() -> None:
    model = transformer()
    rollout = run(model, text(1), chunks=2)
    done = [rollout.advance(latents(f, 9), 700) for f in (2, 1)]
    assert [x.shape[0] for x in done if x is not None] == [1, 2]
    assert rollout.in_flight == 1
