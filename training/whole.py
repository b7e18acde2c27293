"""Train encoder, U-Net and decoder as one, on frames of a camera's shape and their looks."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamcam.diffusion.stages import Decode, Encode
from training.discriminator import Discriminator, adaptive_weight, adversarial_losses
from training.frames import FrameSet
from training.learner import Learner, Log, fit
from training.losses import (
    edge_correlation_loss,
    extremes_loss,
    image_loss,
    psnr,
    slopes,
    texture_loss,
)
from training.model import SCALING_FACTOR, Parts
from training.pairs import Batch
from training.plan import TrainingPlan
from training.steps import Streams, draw_streams
from training.text import blended, embed
from training.train import autocast, predict


class Shape(NamedTuple):
    """Height and width of the views of a batch, their share of an area, and how often."""

    height: int
    width: int
    part: float
    """Rows of such a batch, as a share of the plan's."""
    weight: float


SHAPES = (
    Shape(96, 96, 1.0, 0.35),
    Shape(128, 128, 0.6, 0.25),
    Shape(96, 168, 0.6, 0.15),
    Shape(192, 192, 0.25, 0.06),
    Shape(128, 224, 0.35, 0.12),
    Shape(256, 448, 0.1, 0.07),
)
"""Mostly small views, in which the local structure of looks is learnt cheaply; whole frames too."""
STREAMS = (0.72, 0.2, 0.08)
"""Probabilities of streams of one, two and three steps."""
PAIRED = 0.6
"""Probability that a batch consists of pairs of views, one of them moved by some pixels."""
FOCUS = 4.0
"""How many times more eyes and mouths count than the rest."""
LATENTS = 0.25
"""Probability that latents are compared with those of the target too."""
WEIGHTS = {
    "focus": 1.0, "focus_edges": 0.8, "texture": 1.4, "extremes": 0.8, "edge_correlation": 0.3,
    "range": 0.2, "steadiness": 8.0, "latents": 0.3,
}  # fmt: skip
"""Amounts and extremes count more than edges pixel by pixel, which the blur of a line lowers."""
EDGES = 1.3
ADVERSARIAL = 0.7
"""Norm of the gradient of the adversarial loss at the outputs, as a share of that of all others."""
ADVERSARIAL_FROM = 0.08
"""Progress from which that loss is used; its share then grows for as long again."""
JUMP = 0.2
"""Difference of a pixel in two views of the same above which it counts five times as much."""
RATES = {"unet": 1.0, "encoder": 3.0, "decoder": 3.0, "discriminator": 10.0}
"""Learning rates of the parts, as multiples. Text is finished before."""


def train_whole(parts: Parts, frames: FrameSet, plan: TrainingPlan, log: Log) -> None:
    """Train all but the text encoder on the images of whole streams, from the camera on."""
    device = plan.torch_device
    for part in parts[:3]:
        part.to(device)
    parts.text_encoder.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        discriminator = Discriminator().to(device)
    modules = {
        "unet": parts.unet,
        "encoder": parts.vae.encoder,
        "decoder": parts.vae.decoder,
        "discriminator": discriminator,
    }

    def loss(rng: np.random.Generator, done: float) -> Mapping[str, Tensor]:
        batch = draw_batch(rng, frames, plan.batch)
        grown = (done - ADVERSARIAL_FROM) / ADVERSARIAL_FROM
        share = ADVERSARIAL * min(max(grown, 0.0), 1.0)
        return losses(parts, discriminator, batch, rng, device, share)

    learner = Learner(modules, average=0.998, rates=RATES)
    fit(learner, loss, plan.stage("whole", lr=plan.whole_lr), log)


def draw_batch(rng: np.random.Generator, frames: FrameSet, count: int) -> Streams:
    """Draw a batch of about the area of `count` of the smallest views."""
    weights = np.array([shape.weight for shape in SHAPES])
    shape = SHAPES[int(rng.choice(len(SHAPES), p=weights / weights.sum()))]
    steps = int(rng.choice(len(STREAMS), p=STREAMS)) + 1
    rows = max(1, round(count * shape.part / (1 + 0.5 * (steps > 1))))
    paired = steps == 1 and rows >= 4 and shape.height < 192 and rng.random() < PAIRED
    size = (shape.height, shape.width)
    return draw_streams(rng, frames, rows, size, steps=steps, paired=paired)


def losses(
    parts: Parts,
    discriminator: Discriminator,
    batch: Streams,
    rng: np.random.Generator,
    device: torch.device,
    share: float,
) -> dict[str, Tensor]:
    """Return the ``loss`` of a batch and its terms.

    `share` is the norm of the adversarial gradient at the outputs, relative to that of the rest.
    """
    encode, decode = Encode(parts.vae), Decode(parts.vae)
    targets, focus = batch.targets.to(device), FOCUS * batch.focus.to(device)
    with autocast(device):
        views = batch.inputs.to(device)
        latents = encode(views, None)
        asked = (batch.indices, batch.texts, batch.rows, batch.weights)
        x_0 = predict(parts, Batch(latents, latents, *asked, None), rng, device)
        outputs = decode(x_0).float()
        prompts = blended(embed(parts, batch.texts), batch.rows, batch.weights).mean(1)
        adversarial = adversarial_losses(discriminator, outputs, targets, views, prompts)
    error = outputs - targets
    across, down = slopes(error)
    small = latents.float() / SCALING_FACTOR
    terms = image_loss(outputs, targets, edges=EDGES) | {
        "focus": (focus * (error.abs() + 2 * error.square())).mean(),
        "focus_edges": (focus[..., 1:] * across.abs()).mean()
        + (focus[..., 1:, :] * down.abs()).mean(),
        "texture": texture_loss(outputs, targets),
        "extremes": extremes_loss(outputs, targets),
        "edge_correlation": edge_correlation_loss(outputs, targets),
        "range": out_of_range(small),
    }
    if batch.moved is not None:
        terms["steadiness"] = unsteadiness(outputs, batch.moved)
    if rng.random() < LATENTS:
        with torch.no_grad(), autocast(device):
            wanted = encode(targets, None).float()
        terms["latents"] = (x_0 - wanted).square().mean().sqrt() / SCALING_FACTOR
    total = terms["loss"] + sum(w * terms[name] for name, w in WEIGHTS.items() if name in terms)
    if share:
        weight = adaptive_weight(total, adversarial["adversarial"], outputs, share)
        total = total + weight * adversarial["adversarial"]
    terms |= adversarial
    return terms | {"loss": total + adversarial["discriminator"], "psnr": psnr(outputs, targets)}


def out_of_range(latents: Tensor) -> Tensor:
    """Return how far latents are beyond the decoder's range, or too faint beside the noise."""
    faint = torch.relu(0.6 - latents[:, 3:].std((0, 2, 3))).mean()
    return torch.relu(latents.abs() - 2.5).mean() + faint


def unsteadiness(outputs: Tensor, moved: Tensor) -> Tensor:
    """Return the mean difference of the outputs of views and of the same views moved.

    What is more than `JUMP`, as a line that comes and goes, counts again four times.
    The second half of `outputs` shows the first, seen from `moved` (B / 2, 2) pixels further down
    and right.
    """
    first, second = outputs.chunk(2)
    height, width = outputs.shape[-2:]
    total = outputs.new_zeros(())
    for one, other, (down, right) in zip(first, second, moved.tolist(), strict=True):
        seen = one[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
        again = other[
            :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
        ]
        error = (seen - again).abs()
        total = total + error.mean() + 4 * torch.relu(error - JUMP).mean()
    return total / len(first)
