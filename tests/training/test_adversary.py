"""Critic of outputs: what its two losses pull, and that it learns to tell soft from sharp."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.textures import textured
from training.adversary import Critic, adversarial_terms, share_of
from training.model import TEXT_WIDTH


def images(seed: int) -> tuple[Tensor, Tensor]:
    """Return sharp and soft images ``(4, 3, 64, 64)`` of the same scenes."""
    drawn = [textured(64, 64, seed=4 * seed + i) for i in range(4)]
    sharp = torch.stack([torch.from_numpy(image) for image in drawn]).permute(0, 3, 1, 2)
    sharp = sharp.float() / 127.5 - 1
    return sharp, F.avg_pool2d(sharp, 3, 1, 1)


def new_critic() -> Critic:
    torch.manual_seed(0)
    return Critic()


PROMPTS = torch.zeros(4, TEXT_WIDTH)


def test_the_critic_feels_its_own_loss_only_and_outputs_the_other_only() -> None:
    critic, (sharp, soft) = new_critic(), images(0)
    soft.requires_grad_(True)
    terms = adversarial_terms(critic, soft, sharp, sharp, PROMPTS)
    weights = list(critic.parameters())
    assert torch.autograd.grad(terms["critic"], soft, retain_graph=True, allow_unused=True) == (
        None,
    )
    pulls = torch.autograd.grad(terms["passing"], weights, retain_graph=True, allow_unused=True)
    assert set(pulls) == {None}
    assert all(pull is not None for pull in torch.autograd.grad(terms["critic"], weights))


def test_a_pull_is_weighed_by_what_it_does_to_the_outputs() -> None:
    outputs = torch.ones(1, 3, 4, 4, requires_grad=True)
    weight = share_of(outputs.sum(), 10 * outputs.sum(), outputs, 0.5)
    assert float(weight) == pytest.approx(0.05)
    assert not weight.requires_grad


def test_a_critic_learns_to_tell_soft_images_from_sharp_ones() -> None:
    critic = new_critic()
    optimiser = torch.optim.Adam(critic.parameters(), 1e-3)
    for step in range(40):
        sharp, soft = images(step)
        optimiser.zero_grad()
        terms = adversarial_terms(critic, soft, sharp, sharp, PROMPTS)
        torch.autograd.backward(terms["critic"])
        optimiser.step()
    sharp, soft = images(1000)
    with torch.no_grad():
        scores = [critic(shown, sharp, PROMPTS).scores.mean() for shown in (sharp, soft)]
    assert scores[0] > scores[1]
