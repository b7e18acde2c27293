"""Test the measures of the evaluation, and that words in other scripts are taught alone."""

import numpy as np
import pytest
import torch

from streamcam.embedded_model import NANO, embedded
from training import scripts
from training.measures import flicker
from training.text import embed
from training.understanding import load_text_parts


def panned(image: np.ndarray, step: int) -> list[np.ndarray]:
    return [image[:, i * step : i * step + 96] for i in range(3)]


def test_an_output_that_moves_with_the_camera_does_not_flicker() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    assert flicker(panned(image, 2), 2) == 0
    assert flicker(panned(image, 2), 3) > 0.5


def test_flicker_is_the_share_of_pixels_that_are_off() -> None:
    frames = [np.full((64, 96, 3), 100, np.uint8) for _ in range(2)]
    frames[1][:, 48:] = 200
    assert flicker(frames, 2) == pytest.approx(0.5, abs=0.05)
    frames[1][:, 48:] = 130
    assert flicker(frames, 2) == 0


def test_words_in_other_scripts_are_learnt_and_english_stays_the_same() -> None:
    folder = embedded(NANO)
    assert folder is not None
    parts = load_text_parts(folder)
    for part in (parts.unet, parts.text_encoder):
        part.requires_grad_(False)
    table = parts.text_encoder.get_input_embeddings().weight
    table[scripts.trainable_tokens(parts)] = 0.3 * torch.randn(1, table.shape[1])
    prompts = ["pencil sketch", "blue neon", ""]
    before = embed(parts, prompts)
    first, last = scripts.teach_scripts(parts, steps=12)
    assert last < first
    assert torch.equal(embed(parts, prompts), before)


def test_foreign_words_have_no_ascii_letters() -> None:
    rng = np.random.default_rng(1)
    assert all(
        not any(c.isascii() and c.isalpha() for c in scripts.foreign(rng)) for _ in range(50)
    )
