"""What is asked of pictures and of latents. Pictures are NCHW in [-1, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.inits import LATENT_STD, LUMA, colour_matrix

HUBER = 0.5
"""Where an error in a latent stops counting by its square.

Below the usual error of a line that is not there yet: an absolute error would be served best by
the median, which is the empty paper between the lines.
"""


def pseudo_huber(error: Tensor, c: float = HUBER) -> Tensor:
    """Return sqrt(e^2 + c^2) - c: a square near 0, an absolute value far out."""
    return torch.sqrt(error.square() + c * c) - c


def slopes(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the differences of neighbours along x and along y."""
    return pictures.diff(dim=-1), pictures.diff(dim=-2)


def edge_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Ask for the same edges, each where it is."""
    across, down = slopes(made - wanted)
    return across.abs().mean() + down.abs().mean()


def texture_loss(made: Tensor, wanted: Tensor, side: int = 4) -> Tensor:
    """Ask for as much of edges in each small area, wherever in it they are.

    A hatching whose strokes cannot be foretold is thus still drawn, where `edge_loss` is served
    best by an even grey.
    """
    error = made.new_zeros(())
    for drawn, asked in zip(slopes(made), slopes(wanted), strict=True):
        error = error + F.avg_pool2d(drawn.abs() - asked.abs(), side).abs().mean()
    return error


def alike_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Ask that what is an edge in one is an edge in the other, by 1 minus their correlation.

    Every picture counts alike: pale hatching as much as neon.
    """
    a, b = (_edges(pictures) for pictures in (made, wanted))
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    # Pictures with next to no edges have nothing to be alike in.
    norms = (a.square().sum(-1) * b.square().sum(-1) + 4e-4).sqrt()
    return (1 - (a * b).sum(-1) / norms).mean()


def _edges(pictures: Tensor) -> Tensor:
    luma = (pictures * LUMA.to(pictures).view(1, 3, 1, 1)).sum(1, keepdim=True)
    kernel = luma.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    slope = F.conv2d(luma, torch.stack([kernel, kernel.T]).unsqueeze(1))
    return (slope.square().sum(1) + 1e-4).sqrt().flatten(1)


def picture_loss(made: Tensor, wanted: Tensor, *, edges: float = 0.5) -> dict[str, Tensor]:
    """Ask for a picture: its pixels, its areas, its colours and its edges."""
    error = made - wanted
    luma = (error * LUMA.to(error).view(1, 3, 1, 1)).sum(1, keepdim=True)
    terms = {
        "pixels": error.abs().mean() + 2 * error.square().mean(),
        "areas": sum((F.avg_pool2d(error, n).abs().mean() for n in (2, 4, 8)), error.new_zeros(())),
        "chroma": (error - luma).abs().mean(),
        "edges": edge_loss(made, wanted),
    }
    total = terms["pixels"] + 0.3 * terms["areas"] + 0.7 * terms["chroma"] + edges * terms["edges"]
    return {"loss": total, **terms}


def anchor_loss(latents: Tensor, pictures: Tensor) -> Tensor:
    """Keep the wired latents the colours of their area, the others above noise, all within tanh."""
    matrix, offset = colour_matrix()
    means = F.avg_pool2d(pictures, 8) / 2 + 0.5
    wanted = torch.einsum("ij,njhw->nihw", matrix.to(means), means) + offset.to(means).view(3, 1, 1)
    anchored = (latents[:, :3] - wanted).square().mean()
    faint = F.relu(LATENT_STD - latents[:, 3:].std((0, 2, 3))).mean()
    beyond = F.relu(latents.abs() - 2.5).mean()
    return 0.2 * anchored + 0.2 * faint + 0.1 * beyond


@torch.no_grad()
def psnr(made: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean peak signal-to-noise ratio in dB."""
    error = (made.clamp(-1, 1) - wanted).square().mean((1, 2, 3)).clamp(min=1e-9)
    return (10 * torch.log10(4 / error)).mean()
