"""The stages of the training: autoencoder, text, U-Net, all together; each resumes by itself."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamcam.diffusion.schedule import ORIGINAL_STEPS, predicted_x_0, steps_at
from streamcam.diffusion.stages import Condition, Decode, Denoise, Encode
from streamcam.frames.image_tensors import to_tensor
from training.dataset import Shards
from training.inits import spread_details, whiten
from training.learner import Learner, Log, fit
from training.losses import (
    alike_loss,
    anchor_loss,
    edge_loss,
    picture_loss,
    pseudo_huber,
    psnr,
    texture_loss,
)
from training.model import SCALING_FACTOR, Parts
from training.pairs import Lesson, draw_lesson
from training.plan import Plan
from training.text import Reader, blended, embed, reading_loss, sample_states

LATENT_NOISE = 0.05
"""What the decoder learns to bear; a home step at `SCALING_FACTOR` adds as much.

It is always there, so that details are worth being made large.
"""
EDGES_FROM = 0.75
"""How far the training of the U-Net is when edges begin to count as the decoder draws them."""
EDGE_ROWS = 4
EDGE_WEIGHT = 1.0
FRAMES_FROM = 0.85
"""Likewise, when rows become whole frames."""
STREAMS = (0.6, 0.28, 0.12)
"""Chances of streams of one, two and three steps."""
WEIGHTS = {"texture": 1.0, "alike": 0.3, "latents": 0.3}
"""Latents stay what the encoder makes of pictures: later steps and mixtures need it."""


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which convolutions run in bfloat16."""
    return torch.autocast(device.type, torch.bfloat16)


def normal(rng: np.random.Generator, like: Tensor) -> Tensor:
    """Return noise of the shape of `like` that depends on `rng` alone, not on the device."""
    generator = torch.Generator("cpu").manual_seed(int(rng.integers(2**63)))
    return torch.randn(like.shape, generator=generator).to(like.device)


def crops(rng: np.random.Generator, pictures: Shards, count: int, side: int) -> Tensor:
    """Draw crops ``(count, 3, side, side)`` of scenes and looks, in step with the latents' grid."""
    cut = []
    for _ in range(count):
        found = pictures[int(rng.integers(len(pictures)))]
        picture = found[int(rng.integers(1, len(found))) if rng.random() < 0.65 else 0]
        top, left = (8 * int(rng.integers((n - side) // 8 + 1)) for n in picture.shape[:2])
        part = picture[top : top + side, left : left + side]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        if rng.random() < 0.3:
            part = part[..., rng.permutation(3)]
        cut.append(np.ascontiguousarray(part))
    return to_tensor(cut, torch.device("cpu")).contiguous(memory_format=torch.channels_last)


def train_autoencoder(parts: Parts, pictures: Shards, plan: Plan, log: Log) -> None:
    """Teach the autoencoder scenes and looks, through latents that have been tampered with."""
    vae, device = parts.vae, plan.torch_device
    encode, decode = Encode(vae), Decode(vae)
    vae.to(device, memory_format=torch.channels_last)
    spread_details(vae, crops(np.random.default_rng(plan.seed), pictures, 32, 64).to(device))

    def loss(rng: np.random.Generator, _done: float) -> Mapping[str, Tensor]:
        # Small steps, and many: what an autoencoder learns of pictures is local.
        wanted = crops(rng, pictures, max(2, plan.batch // 4), plan.crop * 3 // 4).to(device)
        with autocast(device):
            latents = encode(wanted, None) / SCALING_FACTOR
            noisy = latents + LATENT_NOISE * normal(rng, latents)
            made = decode(noisy * SCALING_FACTOR).float()
        terms = picture_loss(made, wanted)
        total = terms["loss"] + anchor_loss(latents, wanted)
        return terms | {"loss": total, "psnr": psnr(made, wanted)}

    fit(Learner({"vae": vae}), loss, plan.course("autoencoder", lr=1.5e-3), log)


def train_text(parts: Parts, plan: Plan, log: Log) -> None:
    """Teach the text encoder looks and colours by name, before any picture; then whiten."""
    device = plan.torch_device
    parts.unet.to(device)
    parts.text_encoder.to(device)
    reader = Reader(parts.unet.add_embedding.proj.out_features).to(device)
    modules = {
        "text_encoder": parts.text_encoder,
        "add_embedding": parts.unet.add_embedding,
        "reader": reader,
    }

    def loss(rng: np.random.Generator, _done: float) -> Mapping[str, Tensor]:
        return reading_loss(parts, reader, rng, batch=64)

    fit(Learner(modules, average=0.99), loss, plan.course("text", lr=2e-3), log)
    whiten(parts.unet.add_embedding, sample_states(parts, plan.seed))


def train_unet(parts: Parts, latents: Shards, plan: Plan, log: Log) -> None:
    """Teach the U-Net what each prompt does to latents, by the formulas that a stream runs."""
    device = plan.torch_device
    parts.unet.to(device, memory_format=torch.channels_last)
    parts.text_encoder.to(device)
    parts.vae.to(device).requires_grad_(False)
    decode = Decode(parts.vae)
    weights = sensitivity(decode, latents, device)

    def loss(rng: np.random.Generator, done: float) -> Mapping[str, Tensor]:
        frames = done >= FRAMES_FROM
        side = latents[0].shape[-1] if frames else plan.crop // 8
        lesson = draw_lesson(rng, latents, plan.batch // 4 if frames else plan.batch, side)
        with autocast(device):
            made = predict(parts, lesson, rng, device)
        wanted = lesson.wanted.to(device)
        error = (made - wanted) / SCALING_FACTOR
        terms = {"latents": pseudo_huber(error * weights).mean()}
        total = terms["latents"]
        if done >= EDGES_FROM:
            rows = slice(0, EDGE_ROWS // 2 if frames else EDGE_ROWS)
            with autocast(device):
                pictures = decode(torch.cat([made[rows], wanted[rows]])).float()
            terms["edges"] = edge_loss(*pictures.chunk(2))
            total = total + EDGE_WEIGHT * terms["edges"]
        return terms | {"loss": total, "rmse": error.square().mean().sqrt()}

    modules = {"unet": parts.unet, "text_encoder": parts.text_encoder}
    fit(Learner(modules), loss, plan.course("unet", lr=plan.unet_lr), log)


def predict(parts: Parts, lesson: Lesson, rng: np.random.Generator, device: torch.device) -> Tensor:
    """Return the x_0 ``(B, C, h, w)`` that a stream would reach by the steps of `lesson`."""
    alphas_cumprod = parts.scheduler.alphas_cumprod.float().to(device)
    denoise = Denoise(parts.unet, parts.scheduler.config.prediction_type, alphas_cumprod)
    states = blended(embed(parts, lesson.texts), lesson.rows, lesson.weights)
    x_0 = lesson.given.to(device)
    for indices in lesson.indices:
        # Every row is a step of its own, of one frame.
        steps = steps_at(indices, ORIGINAL_STEPS, alphas_cumprod)
        x_t = steps.alpha * x_0.unsqueeze(1) + steps.beta * normal(rng, x_0).unsqueeze(1)
        eps = denoise(_channels_last(x_t[:, 0]), steps.timesteps, Condition(states, None, None))
        x_0 = predicted_x_0(eps.unsqueeze(1), x_t, steps)[:, 0]
    return x_0


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def sensitivity(decode: Decode, latents: Shards, device: torch.device) -> Tensor:
    """Return ``(1, C, 1, 1)`` how much the picture changes with each channel, 1 on the average."""
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


def train_together(parts: Parts, latents: Shards, pictures: Shards, plan: Plan, log: Log) -> None:
    """Teach words, U-Net and decoder as one what comes out of whole streams, as pictures.

    What a stream has made goes into its next step with its gradient, so that several steps are
    learnt to do no more than one.
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
        lesson = draw_lesson(rng, latents, count, side, steps=steps, pictures=pictures)
        assert lesson.pictures is not None
        shown = _channels_last(lesson.pictures.to(device))
        with autocast(device):
            x_0 = predict(parts, lesson, rng, device)
            made = decode(x_0).float()
        error = (x_0 - lesson.wanted.to(device)) / SCALING_FACTOR
        terms = picture_loss(made, shown, edges=2.0)
        terms["texture"] = texture_loss(made, shown)
        terms["alike"] = alike_loss(made, shown)
        terms["latents"] = pseudo_huber(error).mean()
        total = terms["loss"] + sum(part * terms[name] for name, part in WEIGHTS.items())
        return terms | {"loss": total, "psnr": psnr(made, shown)}

    modules = {
        "unet": parts.unet,
        "text_encoder": parts.text_encoder,
        "decoder": parts.vae.decoder,
    }
    fit(Learner(modules), loss, plan.course("together", lr=plan.unet_lr / 2), log)
