"""Train the parts in stages that resume by themselves: autoencoder, text, U-Net, all together."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamcam.diffusion.schedule import ORIGINAL_STEPS, predicted_x_0, steps_at
from streamcam.diffusion.stages import Condition, Decode, Denoise, Encode
from streamcam.engines.selection import computes_in_bfloat16
from streamcam.frames.image_tensors import to_tensor
from training.dataset import Shards
from training.inits import whiten_details, whiten_prompts
from training.learner import Learner, Log, fit
from training.losses import (
    anchor_loss,
    edge_correlation_loss,
    edge_loss,
    image_loss,
    pseudo_huber,
    psnr,
    texture_loss,
)
from training.model import SCALING_FACTOR, Parts
from training.pairs import Batch, draw_batch
from training.plan import TrainingPlan
from training.text import PromptClassifier, blended, classification_loss, embed, sample_states

LATENT_NOISE = 0.05
"""Deviation of noise that the decoder learns to tolerate; a default step adds as much.

It is always added, so that large details pay off.
"""
EDGES_FROM = 0.75
"""Progress of the U-Net's training from which on decoded edges count."""
EDGE_ROWS = 4
EDGE_WEIGHT = 1.0
FRAMES_FROM = 0.85
"""Progress from which on rows are whole frames instead of crops."""
STREAMS = (0.6, 0.28, 0.12)
"""Probabilities of streams of one, two and three steps."""
WEIGHTS = {"texture": 1.0, "edge_correlation": 0.3, "latents": 0.3}
"""Weights of losses. Latents must stay the encoder's: later steps and blends need it."""


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which convolutions run in bfloat16, where that is fast."""
    fast = device.type != "cpu" or computes_in_bfloat16()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def normal(rng: np.random.Generator, like: Tensor) -> Tensor:
    """Return noise of the shape of `like` that depends on `rng` alone, not on the device."""
    generator = torch.Generator("cpu").manual_seed(int(rng.integers(2**63)))
    return torch.randn(like.shape, generator=generator).to(like.device)


def crops(rng: np.random.Generator, images: Shards, count: int, side: int) -> Tensor:
    """Draw crops ``(count, 3, side, side)`` of scenes and looks, aligned to the latents' grid."""
    parts = []
    for _ in range(count):
        row = images[int(rng.integers(len(images)))]
        image = row[int(rng.integers(1, len(row))) if rng.random() < 0.65 else 0]
        top, left = (8 * int(rng.integers((n - side) // 8 + 1)) for n in image.shape[:2])
        part = image[top : top + side, left : left + side]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        if rng.random() < 0.3:
            part = part[..., rng.permutation(3)]
        parts.append(np.ascontiguousarray(part))
    return to_tensor(parts, torch.device("cpu")).contiguous(memory_format=torch.channels_last)


def train_autoencoder(parts: Parts, images: Shards, plan: TrainingPlan, log: Log) -> None:
    """Train the autoencoder on scenes and looks, with noise added to the latents."""
    vae, device = parts.vae, plan.torch_device
    encode, decode = Encode(vae), Decode(vae)
    vae.to(device, memory_format=torch.channels_last)
    whiten_details(vae, crops(np.random.default_rng(plan.seed), images, 32, 64).to(device))

    def loss(rng: np.random.Generator, _done: float) -> Mapping[str, Tensor]:
        # Small batches and many steps: an autoencoder learns only local structure.
        targets = crops(rng, images, max(2, plan.batch // 4), plan.crop * 3 // 4).to(device)
        with autocast(device):
            latents = encode(targets, None) / SCALING_FACTOR
            noisy = latents + LATENT_NOISE * normal(rng, latents)
            outputs = decode(noisy * SCALING_FACTOR).float()
        terms = image_loss(outputs, targets)
        total = terms["loss"] + anchor_loss(latents, targets)
        return terms | {"loss": total, "psnr": psnr(outputs, targets)}

    fit(Learner({"vae": vae}), loss, plan.stage("autoencoder", lr=1.5e-3), log)


def train_text(parts: Parts, plan: TrainingPlan, log: Log) -> None:
    """Train the text encoder to classify looks and colours by name, without images; then whiten."""
    device = plan.torch_device
    parts.unet.to(device)
    parts.text_encoder.to(device)
    classifier = PromptClassifier(parts.unet.add_embedding.proj.out_features).to(device)
    modules = {
        "text_encoder": parts.text_encoder,
        "add_embedding": parts.unet.add_embedding,
        "reader": classifier,
    }

    def loss(rng: np.random.Generator, _done: float) -> Mapping[str, Tensor]:
        return classification_loss(parts, classifier, rng, batch=64)

    fit(Learner(modules, average=0.99), loss, plan.stage("text", lr=2e-3), log)
    whiten_prompts(parts.unet.add_embedding, sample_states(parts, plan.seed))


def train_unet(parts: Parts, latents: Shards, plan: TrainingPlan, log: Log) -> None:
    """Train the U-Net on the effect of each prompt on latents, with the formulas of a stream."""
    device = plan.torch_device
    parts.unet.to(device, memory_format=torch.channels_last)
    parts.text_encoder.to(device)
    parts.vae.to(device).requires_grad_(False)
    decode = Decode(parts.vae)
    weights = sensitivity(decode, latents, device)

    def loss(rng: np.random.Generator, done: float) -> Mapping[str, Tensor]:
        frames = done >= FRAMES_FROM
        side = latents[0].shape[-1] if frames else plan.crop // 8
        batch = draw_batch(rng, latents, plan.batch // 4 if frames else plan.batch, side)
        with autocast(device):
            outputs = predict(parts, batch, rng, device)
        targets = batch.targets.to(device)
        error = (outputs - targets) / SCALING_FACTOR
        terms = {"latents": pseudo_huber(error * weights).mean()}
        total = terms["latents"]
        if done >= EDGES_FROM:
            rows = slice(0, EDGE_ROWS // 2 if frames else EDGE_ROWS)
            with autocast(device):
                images = decode(torch.cat([outputs[rows], targets[rows]])).float()
            terms["edges"] = edge_loss(*images.chunk(2))
            total = total + EDGE_WEIGHT * terms["edges"]
        return terms | {"loss": total, "rmse": error.square().mean().sqrt()}

    modules = {"unet": parts.unet, "text_encoder": parts.text_encoder}
    fit(Learner(modules), loss, plan.stage("unet", lr=plan.unet_lr), log)


def predict(parts: Parts, batch: Batch, rng: np.random.Generator, device: torch.device) -> Tensor:
    """Return the x_0 ``(B, C, h, w)`` that a stream would reach in the steps of `batch`."""
    alphas_cumprod = parts.scheduler.alphas_cumprod.float().to(device)
    denoise = Denoise(parts.unet, parts.scheduler.config.prediction_type, alphas_cumprod)
    states = blended(embed(parts, batch.texts), batch.rows, batch.weights)
    x_0 = batch.inputs.to(device)
    for indices in batch.indices:
        # Every row is a separate step, of one frame.
        steps = steps_at(indices, ORIGINAL_STEPS, alphas_cumprod)
        x_t = steps.alpha * x_0.unsqueeze(1) + steps.beta * normal(rng, x_0).unsqueeze(1)
        eps = denoise(_channels_last(x_t[:, 0]), steps.timesteps, Condition(states, None, None))
        x_0 = predicted_x_0(eps.unsqueeze(1), x_t, steps)[:, 0]
    return x_0


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def sensitivity(decode: Decode, latents: Shards, device: torch.device) -> Tensor:
    """Return the effect of each channel on the image, ``(1, C, 1, 1)``, 1 on average."""
    rng = np.random.default_rng(0)
    drawn = [latents[int(rng.integers(len(latents)))][2] for _ in range(8)]
    x_0 = torch.from_numpy(np.stack(drawn)).float().to(device)
    before = decode(x_0)
    changes = []
    for channel in range(x_0.shape[1]):
        moved = x_0.clone()
        moved[:, channel] += 0.1 * SCALING_FACTOR * normal(rng, moved[:, channel])
        changes.append((decode(moved) - before).square().mean())
    share = torch.stack(changes)
    return (share / share.mean()).sqrt().clamp(0.6, 2).view(1, -1, 1, 1)


def train_together(
    parts: Parts, latents: Shards, images: Shards, plan: TrainingPlan, log: Log
) -> None:
    """Train text encoder, U-Net and decoder jointly on the images of whole streams.

    The result of a step is the input of the next one, with its gradient, so that several steps
    learn to do no more than one.
    """
    device = plan.torch_device
    for part in (parts.unet, parts.vae):
        part.to(device, memory_format=torch.channels_last)
    parts.text_encoder.to(device)
    decode = Decode(parts.vae)

    def loss(rng: np.random.Generator, done: float) -> Mapping[str, Tensor]:
        frames = done >= FRAMES_FROM
        side = latents[0].shape[-1] if frames else plan.crop // 8
        count = max(1, plan.batch // (8 if frames else 2))
        steps = int(rng.choice(len(STREAMS), p=STREAMS)) + 1
        batch = draw_batch(rng, latents, count, side, steps=steps, images=images)
        assert batch.images is not None
        targets = _channels_last(batch.images.to(device))
        with autocast(device):
            x_0 = predict(parts, batch, rng, device)
            outputs = decode(x_0).float()
        error = (x_0 - batch.targets.to(device)) / SCALING_FACTOR
        terms = image_loss(outputs, targets, edges=2.0)
        terms["texture"] = texture_loss(outputs, targets)
        terms["edge_correlation"] = edge_correlation_loss(outputs, targets)
        terms["latents"] = pseudo_huber(error).mean()
        total = terms["loss"] + sum(part * terms[name] for name, part in WEIGHTS.items())
        return terms | {"loss": total, "psnr": psnr(outputs, targets)}

    modules = {
        "unet": parts.unet,
        "text_encoder": parts.text_encoder,
        "decoder": parts.vae.decoder,
    }
    fit(Learner(modules), loss, plan.stage("together", lr=plan.unet_lr / 2), log)
