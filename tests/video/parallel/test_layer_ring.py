"""Layers spread over ranks give the published latents, and the same on any number of ranks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from streamcam.engines.device_memory import OutOfMemory
from streamcam.errors import EngineError
from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Layers
from streamcam.video.flow_matching import FlowSchedule, Steps
from streamcam.video.parallel.layer_ring import LayerRing
from streamcam.video.random_wan import random_transformer
from streamcam.video.rollout import Rollout
from streamcam.video.wan import CausalWan, ChunkInputs
from streamcam.video.wan_weights import load_wan_transformer, select_layers
from tests.video.rank_helpers import ring
from tests.video.test_rollout import Recorded
from tests.video.video_goldens import SIZE, close, golden, needs_goldens

CPU = torch.device("cpu")
FLOW = FlowSchedule.shifted(8)


def recorded_layers(layers: range, first: bool, last: bool) -> CausalWan:
    weights, _ = golden("dit_tiny_weights")
    local = load_wan_transformer(select_layers(weights, layers), torch.float32, head_dim=32)
    assert len(local.blocks) == len(layers)
    return CausalWan(local, SIZE, start=layers.start, first=first, last=last)


def recorded_stream(layers: LayerRing) -> list[Tensor | None]:
    tensors, case = golden("pipeline_split_w2_s2")
    draw = Recorded()
    steps, shape = Steps(tuple(case["steps"]), FLOW), CacheShape(case["num_kv_cache"], case["sink"])
    run = Rollout(layers, tensors["prompt_embeds"][None], shape, steps, draw)
    draw.coming = [tensors["c00.renoise.0"]]
    outputs: list[Tensor | None] = [run.denoise_sequentially(tensors["c00.noisy"][0], 700)]
    run.copy_row()
    for k in range(1, 10):
        # Calls come back a rank's time later: at k, what the ring did at k - 1.
        if k > 1:
            draw.coming = [tensors[f"c{k - 1:02}.renoise.0"]]
        outputs.append(run.advance(tensors[f"c{k:02}.noisy"][0], int(600 + (37 * k) % 101)))
    layers.stop()
    return outputs


@needs_goldens
def test_a_ring_of_two_gives_the_published_latents(tmp_path: Path) -> None:
    tensors, case = golden("pipeline_split_w2_s2")
    cuts = [0, *(end for _, end in case["bounds"])]
    outputs = ring(recorded_layers, cuts, recorded_stream, tmp_path)
    close(outputs[0], tensors["c00.out"][0])
    for k in range(4, 10):
        close(outputs[k], tensors[f"c{k - 1:02}.out"][-1])


def tiny_layers(layers: range, first: bool, last: bool) -> CausalWan:
    model = random_transformer("tiny-wan", torch.float32, CPU, layers=layers)
    return CausalWan(model, (4, 6), start=layers.start, first=first, last=last)


def tiny_stream(layers: Layers) -> list[Tensor]:
    """Return eleven chunks, on the way the prompt is recached, and three with a clean context."""

    def drawn(*shape: int, seed: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    def ones(like: Tensor, _step: int) -> Tensor:
        return torch.ones_like(like)

    shape, steps = CacheShape(5, 2, position_limit=8, realign=True), Steps((700, 400, 200), FLOW)
    embeds = [drawn(1, 6, 32, seed=seed) for seed in range(2)]
    run = Rollout(layers, embeds[0], shape, steps, ones, sink_threshold=0.5)
    outputs = [run.denoise_sequentially(drawn(2, 16, 4, 6, seed=0), 700)]
    run.copy_row()
    for k in range(1, 11):
        done = run.advance(drawn(1, 16, 4, 6, seed=k), 700)
        outputs += [] if done is None else [done]
        while k in (5, 10) and run.in_flight:
            done = run.advance()
            outputs += [] if done is None else [done]
        if k == 5:
            run.recache(embeds[1])
    warped = Steps((937.5, 625.0), FLOW, clean_pass=True)
    run = Rollout(layers, embeds[0], CacheShape(6, 3), warped, ones, batched=False)
    return outputs + [run.denoise_sequentially(drawn(3, 16, 4, 6, seed=k), 937.5) for k in range(3)]


def layers_short_of_memory(layers: range, first: bool, last: bool) -> CausalWan:
    """Return layers of which the last run out of memory on chunks of four frames."""
    model = tiny_layers(layers, first, last)
    run = model.forward

    def limited(x: Tensor, chunk: ChunkInputs, *inputs: Any) -> Tensor:
        if last and chunk.cos.shape[1] == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        return run(x, chunk, *inputs)

    model.forward = limited  # type: ignore[method-assign]
    return model


def three_ranks(layers: LayerRing) -> tuple[str, list[Tensor]]:
    """Return the error of a chunk too large for one rank, and the chunks that run after it."""
    embeds, steps = torch.ones(1, 6, 32), Steps((700,), FLOW)
    run = Rollout(layers, embeds, CacheShape(4, 1), steps, lambda like, _: like)
    why = "nothing"
    try:
        run.denoise_sequentially(torch.ones(4, 16, 4, 6), 700)
    except OutOfMemory as error:
        why = str(error)
    outputs = tiny_stream(layers)
    layers.stop()
    return why, outputs


@pytest.fixture(scope="module")
def of_three(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Tensor]]:
    folder = tmp_path_factory.mktemp("three")
    result: tuple[str, list[Tensor]] = ring(
        layers_short_of_memory, [0, 1, 2, 3], three_ranks, folder
    )
    return result


def test_three_ranks_give_what_one_gives(of_three: tuple[str, list[Tensor]]) -> None:
    with torch.inference_mode():
        alone = tiny_stream(Layers(tiny_layers(range(3), True, True)))
    together = of_three[1]
    assert len(together) == len(alone) == 14
    for one, many in zip(alone, together, strict=True):
        close(many, one)


def test_a_rank_that_runs_out_of_memory_reports_it_and_continues(
    of_three: tuple[str, list[Tensor]],
) -> None:
    assert of_three[0].startswith("CUDA out of memory")


def what_breaks(layers: LayerRing) -> str:
    try:
        tiny_stream(layers)
    except EngineError as error:
        return str(error)
    return "nothing"


def test_a_rank_that_dies_breaks_the_ring(tmp_path: Path) -> None:
    error = ring(tiny_layers, [0, 2, 3], what_breaks, tmp_path, dies=1)
    assert error.startswith("a device of the pipeline is gone: ")
