"""What the U-Net is taught, by rows: latents as given, latents as wanted, and the words for it."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import wordings
from training.data import Shards, looks_of
from training.looks import LOOKS

Latents = NDArray[np.float32]
HOME = 40
"""The index of the schedule from which on, towards noise, a look is there in full."""
LAST_SHARE = 0.5
INDICES = (*[40] * 10, *[45] * 5, *range(20, 50))
"""Drawn from: mostly the home and one late step, else wherever structure survives."""

EMPTY, UNKNOWN, BLEND = 0.10, 0.16, 0.22
"""Chances, summed up: no prompt, one that no look is, two looks at once."""
OWN, MIXED = 0.15, 0.25
"""Chances, summed up, that a look's own result is given, or a mixture with the source."""


class Lesson(NamedTuple):
    """A batch: rows of ``(B, C, h, w)`` float32, and texts by row with weights that sum to 1."""

    given: Tensor
    wanted: Tensor
    indices: tuple[int, ...]
    texts: list[str]
    rows: list[int]
    weights: list[float]


class Row(NamedTuple):
    """One row of a lesson."""

    given: Latents
    wanted: Latents
    prompt: list[tuple[str, float]]


def share(index: int, steps: int = 50) -> float:
    """Return how much of a look a step at `index` is to bring about: late steps do less.

    So strength has a meaning for a model that would otherwise do the same wherever it starts,
    and a late step has a reason to leave alone what an earlier one has made.
    """
    late = max(0, index - HOME) / (steps - HOME)
    return 1 - (1 - LAST_SHARE) * late


def draw_lesson(rng: np.random.Generator, latents: Shards, count: int, side: int) -> Lesson:
    """Draw `count` rows of `side` by `side` latents."""
    indices = tuple(int(i) for i in rng.choice(INDICES, count))
    rows = [_row(rng, latents, side, share(index)) for index in indices]
    prompts = [(text, i, weight) for i, row in enumerate(rows) for text, weight in row.prompt]
    return Lesson(
        given=torch.from_numpy(np.stack([row.given for row in rows])),
        wanted=torch.from_numpy(np.stack([row.wanted for row in rows])),
        indices=indices,
        texts=[text for text, _, _ in prompts],
        rows=[row for _, row, _ in prompts],
        weights=[weight for _, _, weight in prompts],
    )


def _row(rng: np.random.Generator, latents: Shards, side: int, part: float) -> Row:
    index = int(rng.integers(len(latents)))
    shown = looks_of(latents.recipe, index)
    camera, clean, *targets = _crop(rng, latents[index], side)
    kind = rng.random()
    first, second = (int(i) for i in rng.choice(len(shown), 2))
    if kind < UNKNOWN:
        text = wordings.EMPTY if kind < EMPTY else wordings.unknown(rng)
        given, base = _given(rng, camera, clean, targets[first])
        return Row(given, base, [(text, 1.0)])
    weight = float(rng.random()) if kind < BLEND else 1.0
    target = weight * targets[first] + (1 - weight) * targets[second]
    look = shown[first][0]
    if weight < 1 or look == "negative":
        given, base = camera, clean
    else:
        given, base = _given(rng, camera, clean, target, mixes=LOOKS[look].settles)
    prompt = [(wordings.prompt(rng, *shown[first]), weight)]
    if weight < 1:
        prompt.append((wordings.prompt(rng, *shown[second]), 1 - weight))
    return Row(given, base + part * (target - base), prompt)


def _given(
    rng: np.random.Generator,
    camera: Latents,
    clean: Latents,
    target: Latents,
    *,
    mixes: bool = True,
) -> tuple[Latents, Latents]:
    """Return what goes in, and the same without a camera's noise."""
    kind = rng.random()
    if kind < OWN:
        return target, target
    if not mixes or kind >= MIXED:
        return camera, clean
    part = float(rng.random())
    return camera + part * (target - camera), clean + part * (target - clean)


def _crop(rng: np.random.Generator, latents: NDArray[np.float16], side: int) -> Latents:
    height, width = latents.shape[-2:]
    top, left = (int(rng.integers(extent - side + 1)) for extent in (height, width))
    part = latents[..., top : top + side, left : left + side]
    return np.asarray(part, np.float32)


def draw_home(
    rng: np.random.Generator, latents: Shards, pictures: Shards, count: int, side: int
) -> tuple[Lesson, Tensor]:
    """Draw rows whose pictures are kept too: ``(count, 3, H, W)`` in [-1, 1], as wanted.

    These show each scene in its first look, from about the home step.
    """
    indices = tuple(int(i) for i in rng.choice((36, 40, 40, 40, 45), count))
    given, wanted, shown, texts = [], [], [], []
    for index in indices:
        row, part = int(rng.integers(len(latents))), share(index)
        found = latents[row]
        top, left = (int(rng.integers(n - side + 1)) for n in found.shape[-2:])
        camera, clean, target = np.asarray(
            found[:3, :, top : top + side, left : left + side], np.float32
        )
        cut = (slice(8 * top, 8 * (top + side)), slice(8 * left, 8 * (left + side)))
        before, after = np.asarray(pictures[row][(slice(None), *cut)], np.float32)
        given.append(camera)
        wanted.append(clean + part * (target - clean))
        shown.append(before + part * (after - before))
        texts.append(wordings.prompt(rng, *looks_of(latents.recipe, row)[0]))
    lesson = Lesson(
        torch.from_numpy(np.stack(given)),
        torch.from_numpy(np.stack(wanted)),
        indices,
        texts,
        list(range(count)),
        [1.0] * count,
    )
    return lesson, torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2) / 127.5 - 1
