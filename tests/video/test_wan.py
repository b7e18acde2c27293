"""Causal Wan, call by call, against the published code's own numbers."""

from typing import Any

import torch

from streamcam.video.schedule import Flow, predicted_x_0
from streamcam.video.wan import CausalWan
from tests.video.goldens import close, golden, needs_goldens, wan
from tests.video.streams import loaded

FRAMES = 6


@needs_goldens
@torch.inference_mode()
def test_flows_and_caches_are_the_published_ones() -> None:
    tensors, _ = golden("unit_forward")
    model, sigmas = wan(), Flow.shifted(8)
    cache = model.new_cache(1, FRAMES)
    text = model.prompt(tensors["prompt_embeds"][None])
    for call in range(4):
        x, timesteps = tensors[f"c{call}.x"], tensors[f"c{call}.t"].tolist()
        start, frames = int(tensors[f"c{call}.start_frame"]), x.shape[1]
        slots = range(start, start + frames)
        seen = (torch.arange(FRAMES) < start + frames).repeat_interleave(24)[None, None, None]
        chunk = model.chunk(timesteps, [slots], [slots], FRAMES, seen)
        flow = model(x, chunk, text, cache)
        close(flow, tensors[f"c{call}.flow"])
        sigma = torch.tensor([sigmas.sigma(t) for t in timesteps[0]]).reshape(1, -1, 1, 1, 1)
        close(predicted_x_0(x, flow, sigma), tensors[f"c{call}.x0"])
    for layer in range(4):
        keys, values = cache.layer(layer)
        close(keys[:, :5].flatten(1, 2), tensors[f"final.kv.{layer}.k"])
        close(values[:, :5].flatten(1, 2), tensors[f"final.kv.{layer}.v"])


@torch.inference_mode()
def test_compiled_layers_run_in_full_batches_over_a_full_cache_alone() -> None:
    model = CausalWan(loaded("wan", "wan").layers.model.transformer, (4, 6))
    text, cache = model.prompt(torch.randn(1, 8, 32)), model.new_cache(2, 3)
    ran: list[int] = []

    def noted(layer: Any) -> Any:
        return lambda x, *others: (ran.append(len(x)), layer(x, *others))[1]

    model.speed_up([2], noted)
    x, mask = torch.randn(2, 1, 16, 4, 6), torch.ones(1, 1, 1, 3 * 6, dtype=torch.bool)
    for rows, hidden, expected in ((2, mask, 0), (1, None, 0), (2, None, 3)):
        place = [[0]] * rows
        chunk = model.chunk([[500]] * rows, place, place, 3, hidden)
        model(x[:rows], chunk, text, cache.only(0, rows))
        assert len(ran) == expected
