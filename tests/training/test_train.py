"""Test the batches of the training, its losses, and that it resumes exactly."""

import dataclasses
import functools
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from streamcam.diffusion.stages import Encode
from training import dataset, model, pairs, text, tokenizer, train
from training.learner import Learner, Log, Stage, fit, progress, rate
from training.losses import edge_correlation_loss, edge_loss, extremes_loss, texture_loss
from training.model import Parts
from training.plan import TrainingPlan, plan_for


def toy() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 4)


def fit_toy(stage: Stage, steps: int) -> tuple[nn.Linear, Learner]:
    module = toy()
    learner = Learner({"toy": module})

    def loss(rng: np.random.Generator, _done: float) -> dict[str, torch.Tensor]:
        x = torch.from_numpy(rng.normal(size=(8, 4)).astype(np.float32))
        return {"loss": (module(x) - x).square().mean()}

    stage = dataclasses.replace(stage, steps=steps)
    fit(learner, loss, stage, Log(stage.folder / "log.jsonl"))
    return module, learner


def stage(folder: Path) -> Stage:
    return Stage("toy", folder, lr=0.1, seconds=math.inf)


def test_a_resumed_training_gives_the_same_weights_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, _ = fit_toy(stage(tmp_path / "whole"), 12)
    module = toy()
    learner = Learner({"toy": module})
    ticks = iter(range(1000))

    def loss(rng: np.random.Generator, _done: float) -> dict[str, torch.Tensor]:
        if next(ticks) == 7:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.normal(size=(8, 4)).astype(np.float32))
        return {"loss": (module(x) - x).square().mean()}

    broken = stage(tmp_path / "broken")
    always = dataclasses.replace(broken, steps=12, save_every_s=0)
    with pytest.raises(KeyboardInterrupt):
        fit(learner, loss, always, Log(tmp_path / "log.jsonl"))
    resumed, _ = fit_toy(broken, 12)
    assert torch.equal(whole.weight, resumed.weight)


def test_a_finished_stage_only_restores_its_averages(tmp_path: Path) -> None:
    done, learner = fit_toy(stage(tmp_path), 5)
    restored, _ = fit_toy(stage(tmp_path), 5)
    assert torch.equal(done.weight, restored.weight)
    assert torch.equal(done.weight, learner.averages["toy.weight"])


def test_an_interrupted_write_keeps_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, learner = fit_toy(stage(tmp_path), 2)
    previous = (tmp_path / "toy.safetensors").read_bytes()

    def interrupt(_tensors: object, path: Path, **_: object) -> None:
        path.write_bytes(previous[:100])
        raise OSError("no space left")

    monkeypatch.setattr("training.learner.save_file", interrupt)
    with pytest.raises(OSError, match="no space"):
        learner.save(tmp_path / "toy.safetensors")
    assert (tmp_path / "toy.safetensors").read_bytes() == previous


def test_a_nan_loss_ends_the_training_and_changes_no_weight() -> None:
    module = toy()
    before = module.weight.detach().clone()
    learner = Learner({"toy": module})
    with pytest.raises(RuntimeError, match="non-finite"):
        learner.update(module(torch.ones(1, 4)).sum() * math.nan, 0.1)
    assert torch.equal(module.weight, before)


def test_time_ends_a_stage_and_the_learning_rate_falls_with_time(tmp_path: Path) -> None:
    times = iter(range(10_000))
    timed = dataclasses.replace(
        stage(tmp_path), seconds=10, clock=lambda: float(next(times)), log_every_s=0
    )
    _, learner = fit_toy(timed, 1000)
    assert learner.step < 20
    assert progress(learner, timed) >= 1
    assert rate(1000, 0.0) == 1.0
    assert rate(1000, 0.5) > rate(1000, 0.9) > rate(1000, 1.0) > 0


@pytest.fixture(scope="module")
def parts() -> Parts:
    return model.build(tokenizer.learn(text.corpus(0, prompts=200)))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrainingPlan:
    out = tmp_path_factory.mktemp("nano")
    tiny = {"scenes": 4, "looks": 3, "shown": 2, "per_shard": 2, "size": 64, "crop": 32}
    return plan_for(out, 1.0, batch=4, workers=0, device="cpu", steps=2, **tiny)


@pytest.fixture(scope="module")
def cached(parts: Parts, plan: TrainingPlan) -> tuple[dataset.Shards, dataset.Shards]:
    recipe, shards = plan.recipe, range(plan.shards)
    dataset.fill(recipe, "images", functools.partial(dataset.make_images, recipe), shards, 0)
    parts.vae.save_pretrained(plan.out / "vae")
    encode = functools.partial(dataset.make_latents, recipe, vae=plan.out / "vae")
    dataset.fill(recipe, "latents", encode, shards, 0)
    return (
        dataset.Shards(recipe, "images", plan.shards),
        dataset.Shards(recipe, "latents", plan.shards),
    )


def test_existing_shards_are_not_made_again(
    cached: tuple[dataset.Shards, dataset.Shards], plan: TrainingPlan
) -> None:
    def refuse(shard: int) -> None:
        raise AssertionError(shard)

    dataset.fill(plan.recipe, "images", refuse, range(plan.shards), 0)


def test_a_cache_of_another_recipe_is_refused(tmp_path: Path, plan: TrainingPlan) -> None:
    recipe = plan.recipe._replace(folder=tmp_path)
    dataset.check_recipe(recipe)
    dataset.check_recipe(recipe)
    with pytest.raises(ValueError, match="choose another"):
        dataset.check_recipe(recipe._replace(seed=1))


def test_batches_depend_on_their_seed_alone(cached: tuple[dataset.Shards, dataset.Shards]) -> None:
    _, latents = cached
    first, second = (pairs.draw_batch(np.random.default_rng(5), latents, 6, 4) for _ in range(2))
    assert first.inputs.shape == (6, model.LATENT_CHANNELS, 4, 4)
    assert torch.equal(first.inputs, second.inputs)
    assert first.texts == second.texts


def test_without_a_prompt_the_target_is_the_input(
    cached: tuple[dataset.Shards, dataset.Shards],
) -> None:
    _, latents = cached
    batch = pairs.draw_batch(np.random.default_rng(0), latents, 200, 8)
    empty = [r for r, t in zip(batch.rows, batch.texts, strict=True) if not t]
    assert 5 < len(empty) < 40
    apart = (batch.inputs - batch.targets).abs().mean((1, 2, 3))
    assert apart[empty].mean() < 0.5 * apart.mean()


def test_the_weights_of_each_row_sum_to_one(cached: tuple[dataset.Shards, dataset.Shards]) -> None:
    batch = pairs.draw_batch(np.random.default_rng(1), cached[1], 100, 4)
    assert len(batch.texts) > 100
    totals = np.bincount(batch.rows, batch.weights)
    assert np.allclose(totals, 1)


def test_images_are_the_same_crops_as_latents(
    parts: Parts, cached: tuple[dataset.Shards, dataset.Shards]
) -> None:
    images, latents = cached
    draws = np.random.default_rng(3)
    batch = pairs.draw_batch(draws, latents, 16, 5, images=images)
    assert batch.images is not None
    assert batch.images.shape == (16, 3, 40, 40)
    with torch.no_grad():
        encoded = Encode(parts.vae)(batch.images.float(), None)
    # The first three latents are an area's colours; at the border they depend on what was cropped.
    inner = (slice(None), slice(0, 3), slice(1, -1), slice(1, -1))
    apart = (encoded[inner] - batch.targets[inner]).abs().mean()
    elsewhere = (encoded[inner] - batch.targets.roll(1, dims=0)[inner]).abs().mean()
    assert apart < 0.1 * elsewhere


def test_the_steps_of_a_stream_are_in_ascending_order(
    cached: tuple[dataset.Shards, dataset.Shards],
) -> None:
    batch = pairs.draw_batch(np.random.default_rng(4), cached[1], 30, 4, steps=3)
    assert len(batch.indices) == 3
    for stream in zip(*batch.indices, strict=True):
        assert list(stream) == sorted(stream)


def test_late_steps_apply_less_of_a_look() -> None:
    shares = [pairs.share(index) for index in range(50)]
    assert shares[:41] == [1.0] * 41
    assert all(a > b for a, b in pairwise(shares[40:]))


def test_shifted_hatching_has_a_lower_texture_loss_than_even_grey() -> None:
    hatching = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(8).expand(1, 3, 32, 32)
    grey = torch.zeros_like(hatching)
    moved = hatching.roll(1, dims=-1)
    assert texture_loss(hatching, hatching) == 0
    assert texture_loss(moved, hatching) < 0.3 * texture_loss(grey, hatching)
    assert edge_loss(moved, hatching) > edge_loss(grey, hatching)


def test_a_dark_outline_beside_its_place_has_a_lower_loss_of_extremes_than_a_pale_one() -> None:
    line = torch.ones(1, 3, 32, 32)
    line[..., 14:17] = -1
    pale = 1 - 0.4 * (1 - line)
    assert extremes_loss(line, line) == 0
    assert extremes_loss(line.roll(1, dims=-1), line) < 0.5 * extremes_loss(pale, line)


def test_edge_correlation_does_not_depend_on_contrast() -> None:
    square = -torch.ones(1, 3, 32, 32)
    square[..., 8:24, 8:24] = 1
    assert edge_correlation_loss(0.3 * square, square) < 0.01
    assert edge_correlation_loss(square.roll(6, dims=-1), square) > 0.5
    blank = torch.zeros_like(square, requires_grad=True)
    missed = edge_correlation_loss(blank, square)
    assert missed > 0.9
    torch.autograd.backward(missed + edge_correlation_loss(blank, torch.ones_like(square)))
    assert blank.grad is not None
    assert torch.isfinite(blank.grad).all()


def test_every_stage_of_the_training_runs(
    parts: Parts, plan: TrainingPlan, cached: tuple[dataset.Shards, dataset.Shards]
) -> None:
    images, latents = cached
    log = Log(plan.out / "log.jsonl")
    train.train_autoencoder(parts, images, plan, log)
    train.train_text(parts, plan, log)
    train.train_unet(parts, latents, plan, log)
    train.train_together(parts, latents, images, plan, log)
    stages = [line.split('"')[3] for line in log.path.read_text().splitlines()]
    assert stages == ["autoencoder", "text", "unet", "together"]
