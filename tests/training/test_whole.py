"""Test that a training starts from an earlier edition, and that all of it learns as one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from streamcam.embedded_model import NANO, embedded
from training import looks, looks_grids, model, steps, whole, wordings
from training.frames import HEIGHT, WIDTH, FrameSet, fill_frames
from training.learner import Log
from training.model import Parts
from training.plan import plan_for
from training.start import load_parts
from training.views import draw_view
from training.widening import calibrate, widen_unet


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> FrameSet:
    folder = tmp_path_factory.mktemp("frames")
    fill_frames(folder, seed=0, count=16, workers=0)
    return FrameSet(folder)


@pytest.fixture(scope="module")
def earlier() -> Parts:
    folder = embedded(NANO)
    assert folder is not None
    return load_parts(folder)


def test_frames_have_a_camera_s_shape_and_the_places_of_eyes_and_mouths(frames: FrameSet) -> None:
    assert frames[0].shape == (HEIGHT, WIDTH, 4)
    focus = np.stack([frames[i][..., 3] for i in range(len(frames))])
    assert 0.001 < (focus > 128).mean() < 0.2


def test_half_of_the_views_contain_eyes_or_a_mouth(frames: FrameSet) -> None:
    rng = np.random.default_rng(0)
    views = [draw_view(rng, frames, 96, 128) for _ in range(40)]
    assert {view.shape for view in views} == {(96, 128, 4)}
    assert np.mean([(view[..., 3] > 128).any() for view in views]) > 0.4


def test_streams_depend_on_their_seed_alone(frames: FrameSet) -> None:
    first, second = (
        steps.draw_streams(np.random.default_rng(2), frames, 4, (64, 96), steps=2) for _ in range(2)
    )
    assert torch.equal(first.inputs, second.inputs)
    assert first.texts == second.texts
    assert all(a <= b for a, b in zip(*first.indices, strict=True))


def test_pairs_show_the_same_view_moved(frames: FrameSet) -> None:
    batch = steps.draw_streams(np.random.default_rng(5), frames, 8, (64, 64), paired=True)
    assert batch.moved is not None
    clean = batch.focus.repeat(1, 3, 1, 1)
    assert whole.unsteadiness(clean, batch.moved) == 0
    assert batch.texts[: len(batch.texts) // 2] == batch.texts[len(batch.texts) // 2 :]


def test_pairs_of_blocks_and_dots_move_by_whole_cells(
    frames: FrameSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "draw_look", lambda _rng: ("halftone", ()))
    monkeypatch.setattr(wordings, "prompt", lambda _rng, *look: look[0])
    monkeypatch.setattr(wordings, "mistyped", lambda _rng, text: text)
    batch = steps.draw_streams(np.random.default_rng(5), frames, 24, (64, 64), paired=True)
    assert batch.moved is not None
    prompted = [
        row for row, text in zip(batch.rows, batch.texts, strict=True) if text == "halftone"
    ]
    moves = batch.moved[[row for row in prompted if row < 12]]
    assert len(moves) > 2
    assert (moves % looks_grids.CELL == 0).all()


def test_a_widened_unet_does_what_the_earlier_one_did(earlier: Parts) -> None:
    if earlier.unet.config.in_channels == model.LATENT_CHANNELS:
        pytest.skip("the model in the package has today's shape already")
    unet = model.build(earlier.tokenizer).unet
    widen_unet(earlier.unet, unet)
    kept = earlier.unet.config.in_channels
    draws = torch.Generator().manual_seed(0)
    latents = 8 * torch.randn(4, model.LATENT_CHANNELS, 8, 8, generator=draws)
    states = torch.randn(4, 24, model.TEXT_WIDTH, generator=draws)
    timesteps = torch.full((4,), 180.0)

    def before() -> torch.Tensor:
        made: torch.Tensor = earlier.unet(latents[:, :kept], timesteps, states).sample
        return made

    def after() -> torch.Tensor:
        made: torch.Tensor = unet(latents, timesteps, states).sample
        return made

    with torch.no_grad():
        calibrate(earlier.unet, unet, before, after)
        error, effect = after()[:, :kept] - before(), before() - latents[:, :kept]
    assert error.square().mean() < 0.1 * effect.square().mean()


def test_all_parts_but_the_text_learn_as_one(frames: FrameSet, tmp_path: Path) -> None:
    plan = plan_for(tmp_path, 1.0, batch=4, workers=0, device="cpu", steps=1)
    folder = embedded(NANO)
    assert folder is not None
    parts = load_parts(folder)
    parts_before = [next(part.parameters()).detach().clone() for part in parts[:3]]
    whole.train_whole(parts, frames, plan, Log(tmp_path / "log.jsonl"))
    changed = [
        not torch.equal(next(part.parameters()), before)
        for part, before in zip(parts[:3], parts_before, strict=True)
    ]
    assert changed == [True, True, False]
