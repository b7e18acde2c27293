"""Losses on images, which are NCHW in [-1, 1], and on latents."""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.inits import LATENT_STD, LUMA, colour_matrix

HUBER = 0.5
"""Error of a latent above which the loss is linear instead of quadratic.

Errors below that of a missing line are squared: an absolute error would be minimised by the
median, which is the empty paper between the lines.
"""


def pseudo_huber(error: Tensor, c: float = HUBER) -> Tensor:
    """Return sqrt(e^2 + c^2) - c: a square near 0, an absolute value far out."""
    return torch.sqrt(error.square() + c * c) - c


def slopes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the differences of neighbours along x and along y."""
    return images.diff(dim=-1), images.diff(dim=-2)


def edge_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean difference of edges, pixel by pixel."""
    across, down = slopes(outputs - targets)
    return across.abs().mean() + down.abs().mean()


def texture_loss(outputs: Tensor, targets: Tensor, side: int = 4) -> Tensor:
    """Return the difference of the amount of edges in each area of `side` pixels.

    With it a hatching whose strokes cannot be predicted is still drawn; `edge_loss` alone is
    minimised by an even grey.
    """
    error = outputs.new_zeros(())
    for output, target in zip(slopes(outputs), slopes(targets), strict=True):
        error = error + F.avg_pool2d(output.abs() - target.abs(), side).abs().mean()
    return error


def extremes_loss(outputs: Tensor, targets: Tensor, side: int = 5) -> Tensor:
    """Return the difference of the darkest and of the brightest brightness near each pixel.

    An outline that is a pixel off, or as wide as the target's but pale, costs what it lacks in
    darkness only; errors of single pixels make thin, pale lines of those whose place is uncertain.
    """
    error = outputs.new_zeros(())
    a, b = (_luma(images) for images in (outputs, targets))
    for sign in (-1, 1):
        near = [F.max_pool2d(sign * luma, side, stride=2) for luma in (a, b)]
        error = error + (near[0] - near[1]).abs().mean()
    return error


def edge_correlation_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return 1 minus the correlation of edges, as a mean over images.

    Every image counts the same: pale hatching as much as neon.
    """
    a, b = (_edges(images) for images in (outputs, targets))
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    # Images with hardly any edges have nothing to correlate.
    norms = (a.square().sum(-1) * b.square().sum(-1) + 4e-4).sqrt()
    return (1 - (a * b).sum(-1) / norms).mean()


def _edges(images: Tensor) -> Tensor:
    luma = _luma(images)
    kernel = luma.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    slope = F.conv2d(luma, torch.stack([kernel, kernel.T]).unsqueeze(1))
    return (slope.square().sum(1) + 1e-4).sqrt().flatten(1)


def _luma(images: Tensor) -> Tensor:
    return (images * LUMA.to(images).view(1, 3, 1, 1)).sum(1, keepdim=True)


def image_loss(outputs: Tensor, targets: Tensor, *, edges: float = 0.5) -> dict[str, Tensor]:
    """Return the ``loss`` of images and its terms: pixels, areas, colours and edges."""
    error = outputs - targets
    luma = (error * LUMA.to(error).view(1, 3, 1, 1)).sum(1, keepdim=True)
    terms = {
        "pixels": error.abs().mean() + 2 * error.square().mean(),
        "areas": sum((F.avg_pool2d(error, n).abs().mean() for n in (2, 4, 8)), error.new_zeros(())),
        "chroma": (error - luma).abs().mean(),
        "edges": edge_loss(outputs, targets),
    }
    total = terms["pixels"] + 0.3 * terms["areas"] + 0.7 * terms["chroma"] + edges * terms["edges"]
    return {"loss": total, **terms}


def anchor_loss(latents: Tensor, images: Tensor) -> Tensor:
    """Keep wired latents at the colours of their area, the rest above noise, all within tanh."""
    matrix, offset = colour_matrix()
    means = F.avg_pool2d(images, 8) / 2 + 0.5
    targets = torch.einsum("ij,njhw->nihw", matrix.to(means), means) + offset.to(means).view(
        3, 1, 1
    )
    anchored = (latents[:, :3] - targets).square().mean()
    faint = F.relu(LATENT_STD - latents[:, 3:].std((0, 2, 3))).mean()
    beyond = F.relu(latents.abs() - 2.5).mean()
    return 0.2 * anchored + 0.2 * faint + 0.1 * beyond


@torch.no_grad()
def psnr(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean peak signal-to-noise ratio in dB."""
    error = (outputs.clamp(-1, 1) - targets).square().mean((1, 2, 3)).clamp(min=1e-9)
    return (10 * torch.log10(4 / error)).mean()
