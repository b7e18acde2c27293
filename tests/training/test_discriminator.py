"""Discriminator: where its two losses have gradients, and that it tells soft from sharp."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.textures import textured
from training.discriminator import Discriminator, adaptive_weight, adversarial_losses
from training.model import TEXT_WIDTH


def images(seed: int) -> tuple[Tensor, Tensor]:
    """Return sharp and soft images ``(4, 3, 64, 64)`` of the same scenes."""
    drawn = [textured(64, 64, seed=4 * seed + i) for i in range(4)]
    sharp = torch.stack([torch.from_numpy(image) for image in drawn]).permute(0, 3, 1, 2)
    sharp = sharp.float() / 127.5 - 1
    return sharp, F.avg_pool2d(sharp, 3, 1, 1)


def new_discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator()


PROMPTS = torch.zeros(4, TEXT_WIDTH)


def test_one_loss_trains_the_discriminator_and_the_other_the_outputs() -> None:
    discriminator, (sharp, soft) = new_discriminator(), images(0)
    soft.requires_grad_(True)
    terms = adversarial_losses(discriminator, soft, sharp, sharp, PROMPTS)
    weights = list(discriminator.parameters())
    assert torch.autograd.grad(
        terms["discriminator"], soft, retain_graph=True, allow_unused=True
    ) == (None,)
    pulls = torch.autograd.grad(terms["adversarial"], weights, retain_graph=True, allow_unused=True)
    assert set(pulls) == {None}
    assert all(pull is not None for pull in torch.autograd.grad(terms["discriminator"], weights))


def test_a_loss_is_weighted_by_its_gradient_at_the_outputs() -> None:
    outputs = torch.ones(1, 3, 4, 4, requires_grad=True)
    weight = adaptive_weight(outputs.sum(), 10 * outputs.sum(), outputs, 0.5)
    assert float(weight) == pytest.approx(0.05)
    assert not weight.requires_grad


def test_a_discriminator_learns_to_tell_soft_images_from_sharp_ones() -> None:
    discriminator = new_discriminator()
    optimiser = torch.optim.Adam(discriminator.parameters(), 1e-3)
    for step in range(40):
        sharp, soft = images(step)
        optimiser.zero_grad()
        terms = adversarial_losses(discriminator, soft, sharp, sharp, PROMPTS)
        torch.autograd.backward(terms["discriminator"])
        optimiser.step()
    sharp, soft = images(1000)
    with torch.no_grad():
        scores = [discriminator(shown, sharp, PROMPTS).logits.mean() for shown in (sharp, soft)]
    assert scores[0] > scores[1]
