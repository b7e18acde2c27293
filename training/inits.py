"""Where the parts begin: near something useful, so that little time goes into getting there."""

from typing import Any

import torch
from torch import Tensor

BALLAST = 100.0
LUMA = torch.tensor([0.299, 0.587, 0.114])
COLOUR_SCALE = 3.0
"""Of the wired latents; the decoder squashes beyond 3."""
LATENT_STD = 0.7
"""Of the others: about that of the wired ones."""


def colour_matrix() -> tuple[Tensor, Tensor]:
    """Return M ``(3, 3)`` and b ``(3,)``: RGB in [0, 1] to luma and two differences as latents."""
    red, _, blue = torch.eye(3)
    matrix = COLOUR_SCALE * torch.stack([LUMA, blue - LUMA, red - LUMA])
    return matrix, torch.tensor([-COLOUR_SCALE / 2, 0.0, 0.0])


@torch.no_grad()
def start_as_identity(unet: Any) -> None:
    """Let the U-Net give back its latents at first, so that it learns only what a look changes.

    The latents go by the outermost skip to the last convolution as pairs of x and -x, since
    silu(x) - silu(-x) = x. Constant channels, far larger than all others and summing to zero,
    make the norm on that way almost a fixed scale, whatever the picture.
    """
    width, groups = unet.config.block_out_channels[0], unet.config.norm_num_groups
    plus, minus, ballast = _pairs(unet.config.in_channels, width, groups)
    last, wired = unet.up_blocks[-1].resnets[-1], [*plus, *minus, *ballast]
    _wander(unet)
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
    last.conv_shortcut.bias[ballast[0::2]] = BALLAST
    last.conv_shortcut.bias[ballast[1::2]] = -BALLAST
    unet.conv_norm_out.weight.fill_(BALLAST * (2 * groups / width) ** 0.5)
    unet.conv_norm_out.weight[ballast] = 0
    unet.conv_norm_out.bias.zero_()
    unet.conv_out.weight.mul_(0.1)
    unet.conv_out.weight[:, wired] = 0
    unet.conv_out.bias.zero_()
    unet.conv_out.weight[latents, plus, 1, 1] = 1
    unet.conv_out.weight[latents, minus, 1, 1] = -1


def _pairs(latents: int, width: int, groups: int) -> tuple[list[int], list[int], list[int]]:
    """Return the channels of x, -x and the ballast, spread evenly over the groups of the norm."""
    per_group, share = width // groups, latents // groups
    starts = range(0, width, per_group)
    plus = [start + i for start in starts for i in range(share)]
    minus = [channel + share for channel in plus]
    ballast = [start + 2 * share + i for start in starts for i in range(2)]
    return plus, minus, ballast


def _wander(unet: Any) -> None:
    # A norm takes the level and the contrast out of its group of channels; constants of about
    # the size of what they stand beside let later layers tell both again.
    unet.conv_in.bias.normal_(std=4.0)
    for block in [*unet.down_blocks, unet.mid_block, *unet.up_blocks]:
        for resnet in block.resnets:
            resnet.conv1.bias.normal_(std=0.3)


@torch.no_grad()
def wire_colours(vae: Any) -> None:
    """Lead area-averaged colours through three latents, and back out as a smooth picture.

    From random weights colours collapse early and stay so: green became teal at 30 dB.
    """
    _wire_encoder(list(vae.encoder.layers))
    _wire_decoder(list(vae.decoder.layers))


def _wire_encoder(layers: list[Any]) -> None:
    matrix, offset = colour_matrix()
    for i, layer in enumerate(layers):
        if hasattr(layer, "conv"):
            _pass_by(layer)
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
            _pass_by(layer)
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


def _pass_by(block: Any) -> None:
    # Colours are positive, so the block's ReLU leaves them alone.
    block.conv[-1].weight[:3] = 0
    block.conv[-1].bias[:3] = 0


@torch.no_grad()
def spread_details(vae: Any, pictures: Tensor) -> None:
    """Let the latents that are not wired begin as what colours do not tell, each of its own.

    They come out of random weights small, alike, and repeating the colours: drowned by the noise
    that a stream adds, they stay so. `pictures` is ``(n, 3, H, W)`` in [-1, 1].
    """
    last = vae.encoder.layers[-1]
    rows = vae.encoder(pictures).movedim(1, 0).flatten(1)
    mean = rows.mean(1, keepdim=True)
    covariance = (rows - mean) @ (rows - mean).T / rows.shape[1]
    told = covariance[3:, :3] @ torch.linalg.inv(covariance[:3, :3])
    untold = torch.cat([-told, torch.eye(len(rows) - 3, device=rows.device)], dim=1)
    variance, axes = torch.linalg.eigh(untold @ covariance @ untold.T)
    scale = LATENT_STD / variance.clamp(min=1e-3 * float(variance.max())).sqrt()
    mix = scale.unsqueeze(1) * axes.T @ untold
    weight = torch.einsum("ij,jkhw->ikhw", mix, last.weight)
    bias = mix @ (last.bias - mean.squeeze(1))
    last.weight[3:] = weight
    last.bias[3:] = bias


@torch.no_grad()
def whiten(add_embedding: Any, states: Tensor) -> None:
    """Give each number of the pooled prompt mean 0 and deviation 1 over the prompts in `states`.

    Prompts differ by little beside what they share; without this a model sits at the mean of
    all looks for a long time. `states` is ``(prompts, L, D)``.
    """
    norm = add_embedding.norm2
    pooled = add_embedding(states)
    scale = 1 / pooled.std(0).clamp(min=1e-3)
    norm.bias.copy_((norm.bias - pooled.mean(0)) * scale)
    norm.weight.mul_(scale)
