"""Streams of the small reference model against the recorded ones: batched and sequential."""

import pytest
import torch
from torch import Tensor

from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Layers
from streamcam.video.flow_matching import FlowSchedule, Steps
from streamcam.video.rollout import DrawNoise, Rollout
from tests.video.video_goldens import close, golden, needs_goldens, wan

pytestmark = needs_goldens

STEPS = (700, 500, 400, 200)
FLOW = FlowSchedule.shifted(8)


class Recorded:
    """Replays the noise that the reference drew, in its order."""

    def __init__(self) -> None:
        self.coming: list[Tensor] = []

    def __call__(self, like: Tensor, _step: int) -> Tensor:
        return self.coming.pop(0).reshape(like.shape)


def chunk(tensors: dict[str, Tensor], k: int) -> Tensor:
    return tensors[f"c{k:02}.noisy"][0]


def rollout(
    name: str, draw: DrawNoise, *, prompt: str = ""
) -> tuple[Rollout, dict[str, Tensor], list[int | None]]:
    """Return the rollout of a recorded case, its tensors, and the first timestep of each chunk."""
    tensors, case = golden(name)
    shape = CacheShape(case["num_kv_cache"], case["sink"])
    embeds = (golden(prompt)[0] if prompt else tensors)["prompt_embeds"][None]
    steps = Steps(tuple(case["steps"]), FLOW)
    batched = case["mode"] == "batch"
    run = Rollout(Layers(wan()), embeds, shape, steps, draw, batched=batched)
    return run, tensors, [c["current_step"] or case["steps"][0] for c in case["chunks"]]


@pytest.mark.parametrize("name", ["case_s1", "case_s2", "case_s3", "case_s2_promptb"])
@torch.inference_mode()
def test_a_stream_batch_gives_the_published_latents(name: str) -> None:
    draw = Recorded()
    run, tensors, first_steps = rollout(name, draw)
    n = len(run._pending)
    draw.coming = [tensors[f"c00.renoise.{i}"] for i in range(n - 1)]
    close(run.denoise_sequentially(chunk(tensors, 0), first_steps[0]), tensors["c00.out"][0])
    run.copy_row()
    for k in range(1, len(first_steps)):
        draw.coming = [tensors[f"c{k:02}.renoise.{r}"] for r in range(min(k, n - 1))]
        done = run.advance(chunk(tensors, k), first_steps[k])
        assert (done is None) == (k < n)
        if done is not None:
            close(done, tensors[f"c{k:02}.x0.0"][-1])
    close_caches(run, tensors, len(first_steps) - 1)


def close_caches(run: Rollout, tensors: dict[str, Tensor], last: int) -> None:
    """Compare both caches frame by frame, since they have their own orders of slots."""
    places = tensors[f"c{last:02}.slots"].tolist()
    for row, slots in enumerate(places):
        mine = {w.position: slot for slot, w in run._cached_frames[row].items()}
        assert sorted(mine) == sorted(frame for frame in slots if frame >= 0)
        for ours, theirs in (
            (run._layers.cache.keys[0], "final.kv.0.k"),
            (run._layers.cache.values[3], "final.kv.3.v"),
        ):
            recorded = tensors[theirs].unflatten(1, (len(slots), -1))
            for slot, frame in enumerate(slots):
                if frame >= 0:
                    close(ours[row, mine[frame]], recorded[row, slot])


@torch.inference_mode()
def test_sequential_steps_give_the_published_latents() -> None:
    draw = Recorded()
    run, tensors, first_steps = rollout("case_s2_wo_kv16", draw)
    for k, timestep in enumerate(first_steps):
        draw.coming = [tensors[f"c{k:02}.renoise.0"]]
        out = run.denoise_sequentially(chunk(tensors, k), timestep)
        close(out, tensors[f"c{k:02}.x0.1"][0])
    close_caches(run, tensors, len(first_steps) - 1)
