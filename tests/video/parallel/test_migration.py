"""Layers migrate between ranks while a video runs, and the output stays the same."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Layers
from streamcam.video.flow_matching import FlowSchedule, Steps
from streamcam.video.parallel.layer_ring import LayerRing
from streamcam.video.parallel.partition import Partition, even
from streamcam.video.random_wan import random_transformer
from streamcam.video.rollout import Rollout
from streamcam.video.wan import CausalWan
from tests.video.rank_helpers import ring
from tests.video.video_goldens import close

FLOW = FlowSchedule.shifted(8)
THREE, TWO = Steps((700, 400, 200), FLOW), Steps((700, 400), FLOW)
BLOCKS = 6
SHAPE = CacheShape(5, 2, position_limit=8, realign=True)

Visit = Callable[[int], None]
"""Called before every chunk."""


def six_layers(layers: range, first: bool, last: bool) -> CausalWan:
    model = random_transformer("tiny-wan", torch.float32, torch.device("cpu"), layers=layers)
    return CausalWan(model, (4, 6), start=layers.start, first=first, last=last)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def changing_videos(layers: Layers, visit: Visit) -> list[list[Tensor]]:
    """Return the chunks of two videos: prompts, steps and lengths change, and one is cut off."""

    def noise(like: Tensor, step: int) -> Tensor:
        return drawn(*like.shape, seed=step)

    videos: list[list[Tensor]] = []
    for k in range(60):
        visit(k)
        if k in (0, 30):
            embeds = drawn(1, 6, 32, seed=k)
            run = Rollout(layers, embeds, SHAPE, THREE, noise, rows=3, sink_threshold=0.5)
            videos.append([run.denoise_sequentially(drawn(2, 16, 4, 6, seed=k), 700)])
            run.copy_row()
            continue
        if k in (14, 20, 36, 44):
            # What is in flight has come less far over several devices.
            videos[-1] += finished(run)
        if k in (14, 44):
            run.recache(drawn(1, 6, 32, seed=k))
        elif k in (20, 36):
            run.set_steps(TWO if k == 20 else THREE, batched=True)
        done = run.advance(drawn(1 + (k % 7 == 3), 16, 4, 6, seed=k), 700)
        videos[-1] += [] if done is None else [done]
    videos[-1] += finished(run)
    return videos


def finished(run: Rollout) -> list[Tensor]:
    outputs = []
    while run.in_flight:
        done = run.advance()
        outputs += [] if done is None else [done]
    return outputs


def migrating_videos(layers: LayerRing) -> tuple[list[list[Tensor]], list[Partition]]:
    """Run both videos while layers migrate all the time."""
    rng, ran_on = random.Random(1), [layers.partition]

    def visit(_: int) -> None:
        if layers.partition != ran_on[-1]:
            ran_on.append(layers.partition)
        if layers.settled:
            a, b = sorted(rng.sample(range(1, BLOCKS), 2))
            layers.repartition((range(a), range(a, b), range(b, BLOCKS)))

    outputs = changing_videos(layers, visit)
    layers.stop()
    return outputs, ran_on


def test_migrating_layers_change_no_output(tmp_path: Path) -> None:
    with torch.inference_mode():
        expected = changing_videos(Layers(six_layers(range(BLOCKS), True, True)), lambda _: None)
    outputs, ran_on = ring(six_layers, [0, 2, 4, 6], migrating_videos, tmp_path)
    assert len(ran_on) > 4
    # What was in flight when the first video was cut off is lost.
    assert [len(video) for video in expected] == [29, 30]
    assert [len(video) for video in outputs] == [25, 30]
    for ours, one in zip(outputs, expected, strict=True):
        close(torch.cat(ours), torch.cat(one[: len(ours)]))


def steady_video(layers: Layers) -> list[Tensor]:
    """Return forty chunks of a video without changes."""
    run = Rollout(layers, drawn(1, 6, 32, seed=0), SHAPE, TWO, lambda like, _: like.sign())
    outputs = [run.denoise_sequentially(drawn(2, 16, 4, 6, seed=0), 700)]
    run.copy_row()
    for k in range(1, 40):
        done = run.advance(drawn(1, 16, 4, 6, seed=k), 700)
        outputs += [] if done is None else [done]
    return outputs


def balanced_by_times(layers: LayerRing) -> dict[str, Any]:
    result = {
        "outputs": steady_video(layers),
        "version": layers.version,
        "partition": layers.partition,
        "here": [layers.model.layer_range, layers._cached_layers],
        "statuses": layers.statuses,
    }
    layers.stop()
    return result


def test_a_slow_device_gives_layers_away_and_no_output_changes(tmp_path: Path) -> None:
    with torch.inference_mode():
        expected = steady_video(Layers(six_layers(range(BLOCKS), True, True)))
    slow = {0: 0.01, 1: 0.021}
    result = ring(six_layers, [0, 3, 6], balanced_by_times, tmp_path, slow=slow)
    assert result["version"] == 1
    assert result["partition"] == (range(4), range(4, 6)) != even(BLOCKS, 2)
    assert result["here"] == [range(4), range(4)]
    first, second = result["statuses"]
    assert (first.layers, second.layers) == (4, 2)
    assert (first.layers_s, second.layers_s) == (pytest.approx(0.04), pytest.approx(0.042))
    assert first.memory > 1e6
    assert len(result["outputs"]) == len(expected) - 2
    for ours, one in zip(result["outputs"], expected, strict=False):
        close(ours, one)
