"""Streams of all kinds against a transformer without a cache, which computes all the past again."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Layers
from streamcam.video.flow_matching import FlowSchedule, Steps
from streamcam.video.rollout import Rollout
from streamcam.video.wan import CausalWan
from tests.video.uncached_wan import ChunkInput, Reference, Window
from tests.video.video_goldens import close

FLOW = FlowSchedule.shifted(5)
TIMESTEPS = (900, 640, 410, 130)
SMALL = {"num_attention_heads": 2, "attention_head_dim": 24, "ffn_dim": 64, "num_layers": 2}


def transformer(**shape: Any) -> Any:
    from diffusers import WanTransformer3DModel

    torch.manual_seed(0)
    model = WanTransformer3DModel(**SMALL | {"text_dim": 16, "freq_dim": 32} | shape)
    for name, weight in model.named_parameters():
        if "to_q" in name or "to_k" in name or "to_v" in name:
            weight.data *= 2  # Else all frames get about the same attention.
    return model.eval().requires_grad_(False)


def renoise(x_0: Tensor, step: int) -> Tensor:
    """Return noise that is a function of x_0 and step."""
    return (7 * x_0 + step).sin()


def chunks(lengths: list[int], size: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(f, 16, *size, generator=generator) for f in lengths]


def streamed(
    model: Any, window: Window, steps: int, inputs: list[Tensor], embeds: Tensor, *, batched: bool
) -> list[Tensor]:
    """Return the chunks that the pipeline gives."""
    causal = CausalWan(model, tuple(inputs[0].shape[2:]))  # type: ignore[arg-type]
    run = Rollout(
        Layers(causal),
        embeds,
        CacheShape(window.frames, window.sink_tokens, window.position_limit, window.realign),
        Steps(TIMESTEPS[:steps], FLOW),
        renoise,
        batched=batched,
        sink_threshold=window.sink_threshold,
    )
    outputs = [run.denoise_sequentially(inputs[0], TIMESTEPS[0])]
    if not batched:
        return outputs + [
            run.denoise_sequentially(x_t, TIMESTEPS[0] - 7 * k) for k, x_t in enumerate(inputs[1:])
        ]
    run.copy_row()
    for k, x_t in enumerate(inputs[1:]):
        done = run.advance(x_t, TIMESTEPS[0] - 7 * k)
        outputs += [] if done is None else [done]
    while run.in_flight:
        done = run.advance()
        outputs += [] if done is None else [done]
    return outputs


def recomputed(
    model: Any, window: Window, steps: int, inputs: list[Tensor], embeds: Tensor, *, batched: bool
) -> list[Tensor]:
    """Return the chunks that the transformer without a cache gives."""
    reference = Reference(model, window)
    rows: list[list[ChunkInput]] = [[] for _ in range(steps)]
    """Past inputs of each step of a batch; without a batch, all steps have the same."""
    outputs = []
    for k, x_t in enumerate(inputs):
        x, first = x_t.double(), TIMESTEPS[0] - 7 * max(k - 1, 0)
        chunk_inputs = []
        for step, t in enumerate((first, *TIMESTEPS[1:steps])):
            chunk_inputs.append(ChunkInput(x, t))
            flow = reference.flow([*rows[step], chunk_inputs[-1]], embeds)
            x_0 = x - FLOW.sigma(t) * flow
            if step < steps - 1:
                sigma = FLOW.sigma(TIMESTEPS[step + 1])
                x = (1 - sigma) * x_0 + sigma * renoise(x_0, step + 1)
        for step, row in enumerate(rows):
            row.append(chunk_inputs[step] if batched and k else chunk_inputs[-1])
        outputs.append(x_0)
    return outputs


def assert_equal(
    window: Window, steps: int, lengths: list[int], size: tuple[int, int], **settings: Any
) -> float:
    """Fail unless both give the same; return the difference that the past makes."""
    batched, model = settings.pop("batched", True), transformer(**settings)
    inputs = chunks(lengths, size)
    embeds = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        outputs = streamed(model, window, steps, inputs, embeds, batched=batched)
        expected = recomputed(model, window, steps, inputs, embeds, batched=batched)
        assert len(outputs) == len(expected)
        for ours, theirs in zip(outputs, expected, strict=True):
            close(ours, theirs)
        without_past = recomputed(model, window, steps, inputs[-1:], embeds, batched=batched)
    return float((without_past[-1] - expected[-1]).abs().max())


@pytest.mark.parametrize(
    ("window", "steps", "lengths", "size", "settings"),
    [
        pytest.param(Window(6, 3), 2, [2] + 9 * [1], (4, 6), {}, id="published"),
        pytest.param(Window(5, 2), 4, [2] + 9 * [1], (2, 2), {}, id="four steps"),
        pytest.param(Window(6, 3), 3, [2] + 6 * [1], (4, 2), {"batched": False}, id="sequential"),
        pytest.param(Window(9, 0), 2, [4, 3, 3, 3, 3], (2, 6), {}, id="t2v chunks, no sink tokens"),
        pytest.param(Window(7, 3), 2, [3, 1, 4, 2, 1, 1, 3], (2, 4), {}, id="uneven chunks"),
        pytest.param(
            Window(6, 3, sink_threshold=0.8),
            2,
            [2] + 9 * [1],
            (4, 4),
            {},
            id="refreshed sink tokens",
        ),
        pytest.param(
            Window(4, 2, 6, True, 0.8),
            2,
            [2] + 11 * [1],
            (2, 4),
            {},
            id="refreshed sink tokens, realigned",
        ),
        pytest.param(Window(5, 1, 8), 2, [2] + 11 * [1], (2, 4), {}, id="positions go back"),
        pytest.param(Window(2, 1), 2, [2] + 4 * [1], (6, 2), {}, id="one cached frame"),
        pytest.param(
            Window(6, 3),
            2,
            [2] + 5 * [1],
            (2, 2),
            {"num_attention_heads": 40, "attention_head_dim": 12},
            id="forty heads",
        ),
        pytest.param(
            Window(6, 3),
            2,
            [2] + 5 * [1],
            (2, 4),
            {"num_attention_heads": 3, "attention_head_dim": 32, "num_layers": 4},
            id="uneven parts of a head",
        ),
        pytest.param(Window(5, 2), 1, [2] + 6 * [1], (10, 14), {}, id="odd sides"),
    ],
)
def test_streams_equal_a_transformer_without_a_cache(
    window: Window, steps: int, lengths: list[int], size: tuple[int, int], settings: dict[str, Any]
) -> None:
    assert assert_equal(window, steps, lengths, size, **settings) > 1e-2


@pytest.mark.parametrize("seed", range(6))
def test_streams_of_random_settings_equal_a_transformer_without_a_cache(seed: int) -> None:
    rng = random.Random(seed)
    frames = rng.randint(2, 8)
    sink_tokens = rng.randint(0, frames - 1)
    window = Window(
        frames,
        sink_tokens,
        position_limit=frames + rng.choice([0, 2, 40]),
        realign=rng.random() < 0.5,
        sink_threshold=rng.choice([-1.0, 0.3, 0.7, 1.0]),
    )
    longest = min(3, frames - sink_tokens)
    lengths = [1 + rng.randint(1, longest) if frames - sink_tokens > 1 else 2]
    lengths = [min(lengths[0], frames), *(rng.randint(1, longest) for _ in range(9))]
    assert_equal(
        window, rng.randint(1, 4), lengths, (2, 2 * rng.randint(1, 3)), batched=seed % 3 != 0
    )


@pytest.mark.parametrize(
    ("window", "lengths"),
    [
        pytest.param(Window(21, 0), 4 * [1], id="Self-Forcing, framewise"),
        pytest.param(Window(6, 3), 4 * [3], id="LongLive, with a short window"),
    ],
)
@torch.inference_mode()
def test_with_a_clean_context_chunks_attend_to_the_past_as_it_came_out(
    window: Window, lengths: list[int]
) -> None:
    model, inputs = transformer(), chunks(lengths, (2, 4))
    embeds = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(2))
    timesteps = FLOW.warp_timesteps([1000, 750, 500, 250])
    steps = Steps(tuple(timesteps), FLOW, clean_pass=True)

    def noise(like: Tensor, step: int) -> Tensor:
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(step))

    shape = CacheShape(window.frames, window.sink_tokens)
    causal = CausalWan(model, (2, 4))
    run = Rollout(Layers(causal), embeds, shape, steps, noise, batched=False)
    reference, past = Reference(model, window), list[ChunkInput]()
    for k, x_t in enumerate(inputs):
        entry = timesteps[2 * (k % 2)]  # From the first step, or only the last two.
        x = x_0 = x_t.double()
        for step, t in enumerate(timesteps):
            if t <= entry:
                if t < entry:
                    sigma = FLOW.sigma(t)
                    x = (1 - sigma) * x_0 + sigma * noise(x_0, step)
                flow = reference.flow([*past, ChunkInput(x, t)], embeds)
                x_0 = x - FLOW.sigma(t) * flow
        past.append(ChunkInput(x_0, 0))
        close(run.denoise_sequentially(x_t, entry), x_0)
