"""Widen the parts of an earlier edition, so that a training need not start from zero.

More latents carry finer details; those of the earlier edition keep their meaning.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.inits import LATENT_STD

Map = Tensor
"""For each old channel its index among the new ones."""


@torch.no_grad()
def copied(old: Tensor, new: Tensor, rows: Map, columns: Map, fill: float) -> None:
    """Copy ``(out, in, …)`` to the mapped rows and columns; scale the rest by `fill`."""
    new.mul_(fill)
    new[rows[:, None], columns[None, :]] = old


@torch.no_grad()
def widen_autoencoder(old: Any, new: Any, images: Tensor) -> None:
    """Copy the weights of `old` into `new`, which has more latents and fewer blocks.

    New latents start as what `old` loses: the principal components of its error on `images`
    ``(n, 3, H, W)`` in [-1, 1], as well as they follow from the encoder's features.
    """
    _copy_layers(list(old.encoder.layers), list(new.encoder.layers))
    _copy_layers(list(old.decoder.layers), list(new.decoder.layers))
    features = new.encoder.layers[:-1](images * 0.5 + 0.5)
    lost = _lost_details(old, images, new.config.latent_channels - old.config.latent_channels)
    weight, bias = _regression(features, lost)
    last, count = new.encoder.layers[-1], old.config.latent_channels
    last.weight[count:], last.bias[count:] = weight, bias


def _copy_layers(old: list[Any], new: list[Any]) -> None:
    """Copy layer by layer; a stage with fewer blocks keeps its first ones."""
    for here, there in zip(_stages(old), _stages(new), strict=True):
        for source, target in zip(here, there, strict=False):
            for (_, x), (_, y) in zip(
                source.named_parameters(), target.named_parameters(), strict=True
            ):
                if x.shape == y.shape:
                    y.copy_(x)
                else:
                    rows, columns = (torch.arange(n) for n in (*x.shape, 1)[:2])
                    if x.ndim == 1:
                        y[rows] = x
                    else:
                        copied(x, y, rows, columns, 0.3)


def _stages(layers: list[Any]) -> list[list[Any]]:
    """Split layers before each run of blocks, so that runs of different lengths are aligned."""
    stages: list[list[Any]] = [[]]
    for layer in layers:
        block = hasattr(layer, "conv")
        if stages[-1] and block != hasattr(stages[-1][-1], "conv"):
            stages.append([])
        stages[-1].append(layer)
    return stages


def _lost_details(vae: Any, images: Tensor, count: int) -> Tensor:
    """Return the `count` largest components ``(n, count, h, w)`` of what `vae` loses, scaled."""
    error = images - vae.decode(vae.encode(images).latents).sample
    patches = F.pixel_unshuffle(error, 8)
    rows = patches.movedim(1, 0).flatten(1)
    _, axes = torch.linalg.eigh(rows @ rows.T)
    parts = torch.einsum("kc,nkhw->nchw", axes[:, -count:], patches)
    return LATENT_STD * parts / parts.std((0, 2, 3), keepdim=True)


def _regression(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the 3x3 convolution that predicts `targets` best, at their deviation."""
    columns = F.unfold(features, 3, padding=1).movedim(1, 0).flatten(1)
    columns = torch.cat([columns, torch.ones_like(columns[:1])])
    rows = targets.movedim(1, 0).flatten(1)
    gram = columns @ columns.T + 1e-3 * columns.shape[1] * torch.eye(len(columns))
    weights = torch.linalg.solve(gram, columns @ rows.T).T
    predicted = weights @ columns
    weights = weights * (LATENT_STD / predicted.std(1, keepdim=True))
    return weights[:, :-1].unflatten(1, (features.shape[1], 3, 3)), weights[:, -1]


GROUPS = 4
SINGLE_GAIN, SINGLE_BIAS = 1 / 12, 6.0
"""A wired latent in one channel: silu(z) is about z where z is well above 0."""


def spread(old: int, new: int) -> Map:
    """Return where the channels of `old` go among `new`, so that each stays in its group."""
    size, larger = old // GROUPS, new // GROUPS
    return torch.tensor([g * larger + i for g in range(GROUPS) for i in range(size)])


def after(*parts: tuple[int, int]) -> Map:
    """Return the map of concatenated parts, each (old, new) wide."""
    maps, start = [], 0
    for old, new in parts:
        maps.append(start + (spread(old, new) if old != new else torch.arange(old)))
        start += new
    return torch.cat(maps)


@torch.no_grad()
def widen_unet(old: Any, new: Any) -> None:
    """Copy the weights of `old` into `new`, whose outermost level and latents are wider.

    New latents pass through channels of their own, at first unchanged. Call `calibrate` next.
    """
    width, wider = old.config.block_out_channels[0], new.config.block_out_channels[0]
    second = old.config.block_out_channels[1]
    latents, more = old.config.in_channels, new.config.in_channels
    outer, latent = after((width, wider)), torch.arange(latents)
    joined = after((second, second), (width, wider))
    both = after((width, wider), (width, wider))
    double = torch.cat([outer, wider + outer])
    # Input channels by layer, where they are not the outer ones; and output channels.
    columns = {
        "conv_in": latent,
        "up_blocks.1.resnets.1": joined,
        "up_blocks.2.resnets.0": joined,
        "up_blocks.2.resnets.1": both,
    }
    inner = ("conv2", "norm2", "time_emb_proj")
    before = dict(old.named_parameters())
    for name, target in new.named_parameters():
        source = before[name]
        if source.shape == target.shape:
            target.copy_(source)
            continue
        layer = name.rsplit(".", 1)[0]
        block = ".".join(layer.split(".")[:4])
        is_inner = layer.split(".")[-1] in inner
        into = outer if is_inner else columns.get(block, columns.get(layer, outer))
        if layer == "time_embedding.linear_1":
            continue
        if source.ndim == 1:
            rows = {double.numel(): double}.get(len(source))
            if layer.endswith("norm1"):
                rows = into
            elif rows is None or layer.endswith(("norm2", "conv1", "conv2", "conv_shortcut")):
                rows = latent if layer == "conv_out" else outer
            if layer.endswith("time_emb_proj"):
                rows = double
            target[rows] = source
            continue
        rows = torch.arange(source.shape[0])
        if source.shape[0] != target.shape[0]:
            rows = double if layer.endswith("time_emb_proj") else outer
        if layer == "conv_out":
            rows = latent
        cols = torch.arange(source.shape[1]) if source.shape[1] == target.shape[1] else into
        copied(source, target, rows, cols, 0.0 if layer.endswith("conv2") else 0.1)
    _refit_time(old, new)
    _wire_new_latents(new, latents, more, width, wider)


def _refit_time(old: Any, new: Any) -> None:
    """Make the first layer of the time embedding the same function of the wider sinusoids."""
    times = torch.arange(1000)
    x, y = old.time_proj(times), new.time_proj(times)
    y = torch.cat([y, torch.ones_like(y[:, :1])], 1).double()
    first = old.time_embedding.linear_1
    wanted = first(x).double()
    gram = y.T @ y + 1e-4 * torch.eye(y.shape[1], dtype=y.dtype)
    weights = torch.linalg.solve(gram, y.T @ wanted).T.float()
    new.time_embedding.linear_1.weight.copy_(weights[:, :-1])
    new.time_embedding.linear_1.bias.copy_(weights[:, -1])


def _wire_new_latents(unet: Any, latents: int, more: int, width: int, wider: int) -> None:
    taken = set(spread(width, wider).tolist())
    singles = [c for c in range(wider) if c not in taken][: more - latents]
    added, last = range(latents, more), unet.up_blocks[-1].resnets[-1]
    unet.conv_in.weight[singles] = 0
    unet.conv_in.bias[singles] = 0
    unet.conv_in.weight[singles, added, 1, 1] = 1
    skipped = [last.in_channels - wider + channel for channel in singles]
    last.conv_shortcut.weight[singles] = 0
    last.conv_shortcut.bias[singles] = 0
    last.conv_shortcut.weight[singles, skipped, 0, 0] = 1
    last.conv2.weight[singles] = 0
    last.conv2.bias[singles] = 0
    unet.conv_norm_out.weight[singles] = SINGLE_GAIN
    unet.conv_norm_out.bias[singles] = SINGLE_BIAS
    unet.conv_out.weight[:, singles] = 0
    unet.conv_out.weight[list(added)] = 0
    unet.conv_out.weight[added, singles, 1, 1] = 1 / SINGLE_GAIN
    unet.conv_out.bias[list(added)] = -SINGLE_BIAS / SINGLE_GAIN


@torch.no_grad()
def calibrate(old: Any, new: Any, call_old: Any, call_new: Any) -> None:
    """Give the norms of `new` the outputs that those of `old` have, channel by channel.

    `call_old` and `call_new` run the U-Nets on the same images.
    """
    width, wider = old.config.block_out_channels[0], new.config.block_out_channels[0]
    second = old.config.block_out_channels[1]
    pairs = {
        2 * width: after((width, wider), (width, wider)),
        second + width: after((second, second), (width, wider)),
        width: after((width, wider)),
    }
    for name, norm in new.named_modules():
        if not isinstance(norm, torch.nn.GroupNorm):
            continue
        reference = old.get_submodule(name)
        channels = (
            torch.arange(reference.num_channels)
            if reference.num_channels == norm.num_channels
            else pairs[reference.num_channels]
        )
        wanted = _moments(reference, call_old)
        if name == "conv_norm_out":
            fixed = [c for c in range(wider) if c not in set(channels.tolist())]
            wide = _moments(norm, call_new, inputs=True)[1][fixed]
            mean, deviation = (m[fixed] for m in _moments(norm, call_new))
            gain = SINGLE_GAIN * wide / deviation
            norm.bias[fixed] = SINGLE_BIAS - (mean - norm.bias[fixed]) * gain
            norm.weight[fixed] *= gain
        got = tuple(m[channels] for m in _moments(norm, call_new))
        gain = wanted[1] / got[1].clamp(min=1e-6)
        norm.weight[channels] *= gain
        norm.bias[channels] = wanted[0] - (got[0] - norm.bias[channels]) * gain


def _moments(norm: Any, call: Any, *, inputs: bool = False) -> tuple[Tensor, Tensor]:
    seen: list[Tensor] = []
    handle = norm.register_forward_hook(
        lambda _module, given, made: seen.append(given[0] if inputs else made)
    )
    call()
    handle.remove()
    rows = torch.cat([each.movedim(1, 0).flatten(1) for each in seen], 1)
    return rows.mean(1), rows.std(1)
