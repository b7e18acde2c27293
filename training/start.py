"""Start a training from an earlier edition instead of from zero."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from streamcam.diffusion.stages import Decode, Encode
from streamcam.frames.image_tensors import to_tensor
from training import looks, model, wordings
from training.frames import FrameSet
from training.inits import LATENT_STD
from training.learner import Learner, Log, fit
from training.losses import image_loss, psnr
from training.model import SCALING_FACTOR, Parts
from training.plan import TrainingPlan
from training.text import embed
from training.train import LATENT_NOISE, autocast, normal
from training.views import draw_view
from training.widening import calibrate, widen_autoencoder, widen_unet

SIDE = 96
LOOKS = 0.6
"""Share of an autoencoder's batch that is shown in a look."""
TIMESTEP = 180.0
SAMPLES = 24
CPU = torch.device("cpu")


def load_parts(folder: Path) -> Parts:
    """Return the parts of a finished model in float32."""
    import diffusers
    import transformers

    return Parts(
        diffusers.UNet2DConditionModel.from_pretrained(folder / "unet").float().eval(),
        diffusers.AutoencoderTiny.from_pretrained(folder / "vae").float().eval(),
        transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval(),
        transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        diffusers.LCMScheduler(**model.SCHEDULER),
    )


def widened(earlier: Parts, frames: FrameSet, plan: TrainingPlan, log: Log) -> Parts:
    """Return parts of today's shapes that do about what those of an earlier edition do.

    Where they have to be widened for that, the autoencoder is trained in between, its old latents
    kept where they were.
    """
    if earlier.unet.config.in_channels == model.LATENT_CHANNELS:
        return earlier
    parts = model.build(earlier.tokenizer, seed=plan.seed)._replace(
        text_encoder=earlier.text_encoder
    )
    for part in earlier[:3]:
        part.requires_grad_(False)
    rng = np.random.default_rng((plan.seed, 5))
    views = [draw_view(rng, frames, 128, 256)[..., :3] for _ in range(48)]
    images = to_tensor([np.ascontiguousarray(view) for view in views], CPU)
    widen_autoencoder(earlier.vae, parts.vae, images)
    train_autoencoder(earlier, parts, frames, plan, log)
    widen_unet(earlier.unet, parts.unet)
    _calibrate(earlier, parts, images[:SAMPLES])
    return parts


def train_autoencoder(
    earlier: Parts, parts: Parts, frames: FrameSet, plan: TrainingPlan, log: Log
) -> None:
    """Train an autoencoder whose first latents stay those of an earlier one."""
    device, kept = plan.torch_device, earlier.vae.config.latent_channels
    encode, decode = Encode(parts.vae), Decode(parts.vae)
    encode_before = Encode(earlier.vae.to(device))
    parts.vae.to(device)

    def loss(rng: np.random.Generator, _done: float) -> Mapping[str, Tensor]:
        images, focus = _batch(rng, frames, max(2, plan.batch // 2), device)
        with autocast(device):
            latents = encode(images, None) / SCALING_FACTOR
            noisy = latents + LATENT_NOISE * normal(rng, latents)
            outputs = decode(noisy * SCALING_FACTOR).float()
            with torch.no_grad():
                before = encode_before(images, None) / SCALING_FACTOR
        terms = image_loss(outputs, images)
        terms["focus"] = 3 * (focus * (outputs - images).abs()).mean()
        terms["kept"] = (latents[:, :kept] - before).square().mean()
        faint = torch.relu(LATENT_STD - latents[:, 3:].std((0, 2, 3))).mean()
        beyond = torch.relu(latents.abs() - 2.5).mean()
        total = terms["loss"] + terms["focus"] + 0.3 * terms["kept"] + 0.2 * faint + 0.1 * beyond
        return terms | {"loss": total, "psnr": psnr(outputs, images)}

    learner = Learner({"vae": parts.vae}, average=0.998)
    fit(learner, loss, plan.stage("autoencoder", lr=1.5e-3), log)
    parts.vae.cpu()
    earlier.vae.cpu()


def _batch(
    rng: np.random.Generator, frames: FrameSet, count: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    images, focus = [], []
    for _ in range(count):
        view = draw_view(rng, frames, SIDE, SIDE)
        image = np.ascontiguousarray(view[..., :3])
        if rng.random() < LOOKS:
            image = looks.render(image, *looks.draw_look(rng))
        images.append(image)
        focus.append(view[..., 3])
    marks = torch.from_numpy(np.stack(focus)).unsqueeze(1).to(device) / 255
    return to_tensor(images, CPU).to(device), marks


@torch.no_grad()
def _calibrate(earlier: Parts, parts: Parts, images: Tensor) -> None:
    rng = np.random.default_rng(0)
    prompts = [wordings.example(rng).prompt for _ in range(len(images))]
    states = embed(earlier, prompts)
    timesteps = torch.full((len(images),), TIMESTEP)
    before, after = (Encode(each.vae)(images, None) for each in (earlier, parts))
    noise = LATENT_NOISE * SCALING_FACTOR * normal(rng, after)
    kept = before.shape[1]
    calibrate(
        earlier.unet,
        parts.unet,
        lambda: earlier.unet(before + noise[:, :kept], timesteps, states),
        lambda: parts.unet(after + noise, timesteps, states),
    )
