"""Initialise the parts close to something useful, so that little training time is spent on it."""

from typing import Any

import torch
from torch import Tensor

CONSTANT = 100.0
LUMA = torch.tensor([0.299, 0.587, 0.114])
COLOUR_SCALE = 3.0
"""Range of the wired latents; the decoder saturates beyond 3."""
LATENT_STD = 0.7
"""Deviation of the other latents: about that of the wired ones."""


def colour_matrix() -> tuple[Tensor, Tensor]:
    """Return M ``(3, 3)`` and b ``(3,)``, from RGB in [0, 1] to latents: luma and differences."""
    red, _, blue = torch.eye(3)
    matrix = COLOUR_SCALE * torch.stack([LUMA, blue - LUMA, red - LUMA])
    return matrix, torch.tensor([-COLOUR_SCALE / 2, 0.0, 0.0])


@torch.no_grad()
def start_as_identity(unet: Any) -> None:
    """Make the U-Net return its latents at first, so that it learns only the changes of a look.

    The latents pass through the outermost skip connection to the last convolution as pairs of x
    and -x, since silu(x) - silu(-x) = x. Constant channels, far larger than all others and summing
    to zero, make the norm on that path almost a fixed scale, whatever the image.
    """
    width, groups = unet.config.block_out_channels[0], unet.config.norm_num_groups
    plus, minus, constants = _pairs(unet.config.in_channels, width, groups)
    last, wired = unet.up_blocks[-1].resnets[-1], [*plus, *minus, *constants]
    _randomise_biases(unet)
    latents = range(len(plus))
    unet.conv_in.weight[plus] = 0
    unet.conv_in.bias[plus] = 0
    unet.conv_in.weight[plus, latents, 1, 1] = 1
    for layer in (last.conv_shortcut, last.conv2):
        layer.weight[wired] = 0
        layer.bias[wired] = 0
    skipped = [last.in_channels - width + channel for channel in plus]
    last.conv_shortcut.weight[plus, skipped, 0, 0] = 1
    last.conv_shortcut.weight[minus, skipped, 0, 0] = -1
    last.conv_shortcut.bias[constants[0::2]] = CONSTANT
    last.conv_shortcut.bias[constants[1::2]] = -CONSTANT
    unet.conv_norm_out.weight.fill_(CONSTANT * (2 * groups / width) ** 0.5)
    unet.conv_norm_out.weight[constants] = 0
    unet.conv_norm_out.bias.zero_()
    unet.conv_out.weight.mul_(0.1)
    unet.conv_out.weight[:, wired] = 0
    unet.conv_out.bias.zero_()
    unet.conv_out.weight[latents, plus, 1, 1] = 1
    unet.conv_out.weight[latents, minus, 1, 1] = -1


def _pairs(latents: int, width: int, groups: int) -> tuple[list[int], list[int], list[int]]:
    """Return the channels of x, -x and the constants, spread evenly over the groups of the norm."""
    per_group, share = width // groups, latents // groups
    starts = range(0, width, per_group)
    plus = [start + i for start in starts for i in range(share)]
    minus = [channel + share for channel in plus]
    constants = [start + 2 * share + i for start in starts for i in range(2)]
    return plus, minus, constants


def _randomise_biases(unet: Any) -> None:
    # A norm removes the level and the contrast of its group of channels; constants of about
    # the size of the other channels let later layers recover both.
    unet.conv_in.bias.normal_(std=4.0)
    for block in [*unet.down_blocks, unet.mid_block, *unet.up_blocks]:
        for resnet in block.resnets:
            resnet.conv1.bias.normal_(std=0.3)


@torch.no_grad()
def wire_colours(vae: Any) -> None:
    """Encode area-averaged colours in three latents, and decode them to a smooth image.

    From random weights colours collapse early and do not recover: green became teal at 30 dB.
    """
    _wire_encoder(list(vae.encoder.layers))
    _wire_decoder(list(vae.decoder.layers))


def _wire_encoder(layers: list[Any]) -> None:
    matrix, offset = colour_matrix()
    for i, layer in enumerate(layers):
        if hasattr(layer, "conv"):
            _keep_colours(layer)
            continue
        layer.weight[:3] = 0
        if i == len(layers) - 1:
            layer.weight[:3, :3, 1, 1] = matrix
            layer.bias[:3] = offset
        elif layer.stride[0] == 2:
            for c in range(3):
                layer.weight[c, c, 1:, 1:] = 0.25
        else:
            layer.weight[range(3), range(3), 1, 1] = 1
            layer.bias[:3] = 0


def _wire_decoder(layers: list[Any]) -> None:
    matrix, offset = colour_matrix()
    inverse = torch.linalg.inv(matrix)
    smooth = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16
    for i, layer in enumerate(layers):
        if hasattr(layer, "conv"):
            _keep_colours(layer)
        elif not hasattr(layer, "weight"):
            continue
        elif i == 0:
            layer.weight[:3] = 0
            layer.weight[:3, :3, 1, 1] = inverse
            layer.bias[:3] = -(inverse @ offset)
        elif i == len(layers) - 1:
            layer.weight.mul_(0.1)
            layer.weight[:, :3] = 0
            layer.weight[range(3), range(3), 1, 1] = 1
            layer.bias.zero_()
        else:
            layer.weight[:3] = 0
            layer.weight[range(3), range(3)] = smooth


def _keep_colours(block: Any) -> None:
    # Colours are positive, so the block's ReLU leaves them alone.
    block.conv[-1].weight[:3] = 0
    block.conv[-1].bias[:3] = 0


@torch.no_grad()
def whiten_details(vae: Any, images: Tensor) -> None:
    """Make the unwired latents start as uncorrelated details that colours do not predict.

    Random weights make them small, alike, and correlated with the colours: they drown in the noise
    that a stream adds, and never recover. `images` is ``(n, 3, H, W)`` in [-1, 1].
    """
    last = vae.encoder.layers[-1]
    rows = vae.encoder(images).movedim(1, 0).flatten(1)
    mean = rows.mean(1, keepdim=True)
    covariance = (rows - mean) @ (rows - mean).T / rows.shape[1]
    coefficients = covariance[3:, :3] @ torch.linalg.inv(covariance[:3, :3])
    residual = torch.cat([-coefficients, torch.eye(len(rows) - 3, device=rows.device)], dim=1)
    variance, axes = torch.linalg.eigh(residual @ covariance @ residual.T)
    scale = LATENT_STD / variance.clamp(min=1e-3 * float(variance.max())).sqrt()
    mix = scale.unsqueeze(1) * axes.T @ residual
    weight = torch.einsum("ij,jkhw->ikhw", mix, last.weight)
    bias = mix @ (last.bias - mean.squeeze(1))
    last.weight[3:] = weight
    last.bias[3:] = bias


@torch.no_grad()
def whiten_prompts(add_embedding: Any, states: Tensor) -> None:
    """Give each number of the pooled prompt mean 0 and deviation 1 over the prompts in `states`.

    Prompts differ little compared with what they share; without this a model stays at the mean
    of all looks for a long time. `states` is ``(prompts, L, D)``.
    """
    norm = add_embedding.norm2
    pooled = add_embedding(states)
    scale = 1 / pooled.std(0).clamp(min=1e-3)
    norm.bias.copy_((norm.bias - pooled.mean(0)) * scale)
    norm.weight.mul_(scale)
