"""Discriminator of outputs and targets, whose loss sharpens what a loss on pixels leaves soft.

A loss on pixels is smallest for the mean of all outlines that are possible, which is a broad grey
one. The discriminator sees the camera's view, an image and the prompt (conditional GAN, Isola et
al. 2017), and learns to score each target above the output for the same view (relativistic pairs,
Jolicoeur-Martineau 2019). The model learns the opposite, and to match the target in the
discriminator's features (pix2pixHD, Wang et al. 2018, section 3.3).
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from training.model import TEXT_WIDTH

WIDTHS = (32, 64, 96)
"""Channels of the layers, each at half the size of the one before."""
LEAK = 0.2
FEATURES = 4.0
"""Weight of feature matching, relative to the adversarial loss itself."""


class DiscriminatorOutput(NamedTuple):
    """Scores and features of images."""

    logits: Tensor
    """``(B, 1, h, w)``: higher for targets than for outputs, at each place."""
    features: tuple[Tensor, ...]
    """Outputs of the layers."""


class Discriminator(nn.Module):
    """PatchGAN: scores parts of an image, each about 40 pixels across.

    A logit is the sum of one for any prompt and one for this prompt (projection discriminator,
    Miyato and Koyama 2018).
    """

    def __init__(self) -> None:
        super().__init__()
        channels = (6, *WIDTHS)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(below, above, 4, stride=2, padding=1), nn.LeakyReLU(LEAK))
            for below, above in itertools.pairwise(channels)
        )
        self.last = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 3, padding=1), nn.LeakyReLU(LEAK)
        )
        self.to_logits = nn.Conv2d(WIDTHS[-1], 1, 1)
        self.embed_prompt = nn.Linear(TEXT_WIDTH, WIDTHS[-1])

    def forward(self, images: Tensor, views: Tensor, prompts: Tensor) -> DiscriminatorOutput:
        """Score images ``(B, 3, H, W)`` made of camera views for prompts ``(B, P)``."""
        features: list[Tensor] = []
        hidden = torch.cat([images, views], 1)
        for layer in self.layers:
            hidden = layer(hidden)
            features.append(hidden)
        hidden = self.last(hidden)
        projection = self.embed_prompt(prompts)[..., None, None]
        logits = self.to_logits(hidden) + (projection * hidden).mean(1, keepdim=True)
        return DiscriminatorOutput(logits.float(), tuple(features))


def adversarial_losses(
    discriminator: Discriminator, outputs: Tensor, targets: Tensor, views: Tensor, prompts: Tensor
) -> Mapping[str, Tensor]:
    """Return the losses ``discriminator`` and ``adversarial``.

    The first has gradients for the weights of the discriminator only, the second for `outputs`
    only.
    """
    fake = discriminator(outputs.detach(), views, prompts)
    real = discriminator(targets, views, prompts)
    frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    seen: DiscriminatorOutput = functional_call(discriminator, frozen, (outputs, views, prompts))
    matching = torch.stack(
        [
            F.l1_loss(output.float(), target.detach().float())
            for output, target in zip(seen.features, real.features, strict=True)
        ]
    ).mean()
    return {
        "discriminator": F.softplus(fake.logits - real.logits).mean(),
        "adversarial": F.softplus(real.logits.detach() - seen.logits).mean() + FEATURES * matching,
    }


def adaptive_weight(loss: Tensor, other: Tensor, outputs: Tensor, share: float) -> Tensor:
    """Return the weight at which the gradient of `other` has `share` of the norm of `loss`'s.

    As in VQGAN (Esser et al. 2021, equation 7), but measured at `outputs`.
    """
    norms = [
        torch.autograd.grad(each, outputs, retain_graph=True)[0].norm() for each in (loss, other)
    ]
    return (share * norms[0] / (norms[1] + 1e-12)).detach()
