"""Causal Wan, call by call, against the published code's own numbers."""

from typing import Any

import torch
from torch._dynamo.utils import counters

from streamcam.video.cache_plan import CacheShape
from streamcam.video.flow_matching import FlowSchedule, predict_x_0
from streamcam.video.random_wan import random_transformer
from streamcam.video.wan import CausalWan
from tests.video.video_goldens import close, golden, needs_goldens, wan
from tests.video.video_streams import loaded

FRAMES = 6


@needs_goldens
@torch.inference_mode()
def test_flows_and_caches_equal_the_published_ones() -> None:
    tensors, _ = golden("unit_forward")
    model, sigmas = wan(), FlowSchedule.shifted(8)
    cache = model.new_cache(1, CacheShape(FRAMES, 0))
    text = model.prompt_kv(tensors["prompt_embeds"][None])
    for call in range(4):
        x, timesteps = tensors[f"c{call}.x"], tensors[f"c{call}.t"].tolist()
        start, frames = int(tensors[f"c{call}.start_frame"]), x.shape[1]
        slots = range(start, start + frames)
        seen = (torch.arange(FRAMES) < start + frames).repeat_interleave(24)[None, None, None]
        chunk = model.chunk_inputs(timesteps, [slots], [slots], FRAMES, seen)
        flow = model(x, chunk, text, cache)
        close(flow, tensors[f"c{call}.flow"])
        sigma = torch.tensor([sigmas.sigma(t) for t in timesteps[0]]).reshape(1, -1, 1, 1, 1)
        close(predict_x_0(x, flow, sigma), tensors[f"c{call}.x0"])
    for layer in range(4):
        keys, values = cache.layer(layer)
        close(keys[:, :5].flatten(1, 2), tensors[f"final.kv.{layer}.k"])
        close(values[:, :5].flatten(1, 2), tensors[f"final.kv.{layer}.v"])


@torch.inference_mode()
def test_compiled_layers_run_only_in_full_batches_over_a_full_cache() -> None:
    model = CausalWan(loaded("wan", "wan").layers.model.transformer, (4, 6))
    text, cache = model.prompt_kv(torch.randn(1, 8, 32)), model.new_cache(2, CacheShape(3, 0))
    batch_sizes: list[int] = []

    def recorded(layer: Any) -> Any:
        return lambda x, *more_blocks: (batch_sizes.append(len(x)), layer(x, *more_blocks))[1]

    model.compile_layers([2], recorded)
    x, mask = torch.randn(2, 1, 16, 4, 6), torch.ones(1, 1, 1, 3 * 6, dtype=torch.bool)
    for rows, hidden, expected in ((2, mask, 0), (1, None, 0), (2, None, 3)):
        place = [[0]] * rows
        chunk = model.chunk_inputs([[500]] * rows, place, place, 3, hidden)
        model(x[:rows], chunk, text, cache.select_rows(0, rows))
        assert len(batch_sizes) == expected


def test_layers_that_are_added_are_not_compiled_again() -> None:
    def layers(numbers: range) -> Any:
        return random_transformer("tiny-wan", torch.float32, torch.device("cpu"), layers=numbers)

    model, more_blocks = CausalWan(layers(range(2)), (4, 6)), layers(range(2, 4)).blocks
    model.compile_layers(
        range(1, 3), lambda block: torch.compile(block, dynamic=False, backend="eager")
    )

    @torch.inference_mode()
    def run(rows: int, layer_numbers: range) -> int:
        text, cache = (
            model.prompt_kv(torch.randn(1, 8, 32), layer_numbers),
            model.new_cache(rows, CacheShape(3, 0), layer_numbers),
        )
        chunk = model.chunk_inputs([[500]] * rows, [[0]] * rows, [[0]] * rows, 3)
        model(torch.randn(rows, 1, 16, 4, 6), chunk, text, cache, layer_numbers)
        return int(counters["stats"]["unique_graphs"])

    before = counters["stats"]["unique_graphs"]
    assert [run(rows, range(2)) - before for rows in (1, 2, 1)] == [1, 2, 2]
    model.add_layers(2, more_blocks)
    assert run(2, range(4)) - before == 2
    model.keep_layers(range(1, 4))
    assert model.layer_range == range(1, 4)
    assert run(1, range(1, 4)) - before == 2
