"""Critic of outputs: it tells them from targets, and so finds what a regression leaves soft.

A loss on pixels is smallest for the mean of all outlines that are possible, which is a broad grey
one. The critic sees the camera's view, an image and the prompt (conditional adversarial networks,
Isola et al. 2017), and learns to score each target above the output for the same view (relativistic
pairs, Jolicoeur-Martineau 2019). The model learns the opposite, and to agree with the target in the
critic's features (Wang et al. 2018, section 3.3).
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
"""Weight of the agreement in features, relative to that of passing for a target."""


class Verdict(NamedTuple):
    """What the critic makes of images."""

    scores: Tensor
    """``(B, 1, h, w)``: higher for targets than for outputs, at each place."""
    features: tuple[Tensor, ...]
    """Outputs of the layers."""


class Critic(nn.Module):
    """Scores each part of an image, of about 40 pixels across.

    The score is a sum of one for any prompt and one for this prompt (Miyato and Koyama 2018).
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
        self.score = nn.Conv2d(WIDTHS[-1], 1, 1)
        self.by_prompt = nn.Linear(TEXT_WIDTH, WIDTHS[-1])

    def forward(self, images: Tensor, views: Tensor, prompts: Tensor) -> Verdict:
        """Judge images ``(B, 3, H, W)`` made of camera views for prompts ``(B, P)``."""
        features: list[Tensor] = []
        below = torch.cat([images, views], 1)
        for layer in self.layers:
            below = layer(below)
            features.append(below)
        below = self.last(below)
        asked = self.by_prompt(prompts)[..., None, None]
        scores = self.score(below) + (asked * below).mean(1, keepdim=True)
        return Verdict(scores.float(), tuple(features))


def adversarial_terms(
    critic: Critic, outputs: Tensor, targets: Tensor, views: Tensor, prompts: Tensor
) -> Mapping[str, Tensor]:
    """Return the losses ``critic``, which only its weights feel, and ``passing``, which none do."""
    seen, real = critic(outputs.detach(), views, prompts), critic(targets, views, prompts)
    loss = F.softplus(seen.scores - real.scores).mean()
    fixed = {name: weight.detach() for name, weight in critic.named_parameters()}
    judged: Verdict = functional_call(critic, fixed, (outputs, views, prompts))
    agreement = torch.stack(
        [
            F.l1_loss(mine.float(), wanted.detach().float())
            for mine, wanted in zip(judged.features, real.features, strict=True)
        ]
    ).mean()
    passing = F.softplus(real.scores.detach() - judged.scores).mean() + FEATURES * agreement
    return {"critic": loss, "passing": passing}


def share_of(loss: Tensor, other: Tensor, outputs: Tensor, share: float) -> Tensor:
    """Return the weight at which `other` pulls `outputs` by so large a share of what `loss` does.

    As in VQGAN (Esser et al. 2021, equation 7), measured at the outputs.
    """
    pulls = [
        torch.autograd.grad(each, outputs, retain_graph=True)[0].norm() for each in (loss, other)
    ]
    return (share * pulls[0] / (pulls[1] + 1e-12)).detach()
