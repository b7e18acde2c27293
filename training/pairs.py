"""Draw training batches for the U-Net: input and target latents, and prompts.

Latents and images are mixed in the same way: a row is shares of a scene and of two of its looks.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import wordings
from training.dataset import ColouredLook, Shards, looks_of
from training.looks import LOOKS

Shares = NDArray[np.float32]
"""Weights of a scene and of two of its looks, ``(3,)``, summing to 1."""
DEFAULT_INDEX = 40
"""Index of the schedule up to which (towards noise) one step applies a look in full."""
LAST_SHARE = 0.5
INDICES = (*[40] * 10, *[45] * 5, *range(20, 50))
"""Indices to draw from: mostly the default and one late step, else any that keeps structure."""
LINES = 1.6
"""Relative frequency of looks that consist of lines, in batches with images."""

EMPTY, UNKNOWN, BLEND = 0.10, 0.16, 0.22
"""Cumulative probabilities: no prompt, one that names no look, a blend of two looks."""
OWN, MIXED = 0.15, 0.25
"""Cumulative probabilities of an input that is the look's own result, or a mixture with it."""


class Batch(NamedTuple):
    """Latents ``(B, C, h, w)`` float32, and texts by row with weights that sum to 1."""

    inputs: Tensor
    targets: Tensor
    indices: tuple[tuple[int, ...], ...]
    """Indices of the schedule by step, then by row: several steps are a whole stream."""
    texts: list[str]
    rows: list[int]
    weights: list[float]
    images: Tensor | None
    """Target images ``(B, 3, 8h, 8w)`` in [-1, 1]."""


class Row(NamedTuple):
    """Row of a batch."""

    scene: int
    looks: tuple[int, int]
    source: Shares
    target: Shares
    prompt: list[tuple[str, float]]


def share(index: int, steps: int = 50) -> float:
    """Return the share of a look that a step at `index` applies: late steps apply less.

    So strength has a meaning for a model that would otherwise do the same at every index, and
    a late step has a reason to preserve the result of an earlier one.
    """
    late = max(0, index - DEFAULT_INDEX) / (steps - DEFAULT_INDEX)
    return 1 - (1 - LAST_SHARE) * late


def draw_batch(
    rng: np.random.Generator,
    latents: Shards,
    count: int,
    side: int,
    *,
    steps: int = 1,
    images: Shards | None = None,
) -> Batch:
    """Draw `count` rows of `side` by `side` latents, and crops of their `images` if given.

    Every row is a stream of `steps` steps at rising indices.
    """
    streams = np.sort(rng.choice(INDICES, (count, steps)), axis=1)
    parts = [1 - float(np.prod([1 - share(int(i)) for i in stream])) for stream in streams]
    rows = [_row(rng, latents, images) for _ in range(count)]
    inputs, targets, target_images = [], [], []
    for row, part in zip(rows, parts, strict=True):
        corner = tuple(int(n) for n in rng.integers(latents[0].shape[-1] - side + 1, size=2))
        result = (1 - part) * row.source + part * row.target
        first, second = row.looks
        camera, clean, *looks = _crop(
            latents[row.scene], corner, side, (0, 1, 2 + first, 2 + second)
        )
        inputs.append(np.tensordot(row.source, np.stack([camera, *looks]), 1))
        targets.append(np.tensordot(result, np.stack([clean, *looks]), 1))
        if images is not None:
            whole = np.moveaxis(images[row.scene], -1, -3)
            corner = (8 * corner[0], 8 * corner[1])
            crops = _crop(whole, corner, 8 * side, (0, 1 + first, 1 + second))
            target_images.append(np.tensordot(result, crops, 1) / np.float32(127.5) - 1)
    prompts = [(text, i, weight) for i, row in enumerate(rows) for text, weight in row.prompt]
    return Batch(
        inputs=torch.from_numpy(np.stack(inputs)),
        targets=torch.from_numpy(np.stack(targets)),
        indices=tuple(tuple(int(i) for i in step) for step in streams.T),
        texts=[text for text, _, _ in prompts],
        rows=[row for _, row, _ in prompts],
        weights=[weight for _, _, weight in prompts],
        images=torch.from_numpy(np.stack(target_images)) if target_images else None,
    )


def _row(rng: np.random.Generator, latents: Shards, images: Shards | None) -> Row:
    scene = int(rng.integers(len(latents)))
    scene_looks = looks_of(latents.recipe, scene)
    if images is None:
        first, second = (int(i) for i in rng.choice(len(scene_looks), 2))
    else:
        scene_looks = scene_looks[: len(images[scene]) - 1]
        odds = np.array([LINES if LOOKS[name].lines else 1.0 for name, _ in scene_looks])
        first, second = (int(i) for i in rng.choice(len(scene_looks), 2, p=odds / odds.sum()))
    kind = rng.random()
    if kind < UNKNOWN:
        text = wordings.EMPTY if kind < EMPTY else wordings.unknown(rng)
        source = _source(rng, _shares(1.0))
        return Row(scene, (first, second), source, source, [(text, 1.0)])
    weight = float(rng.random()) if kind < BLEND else 1.0
    target = _shares(weight)
    return Row(
        scene,
        (first, second),
        _source(rng, target, scene_looks[first], pure=weight == 1),
        target,
        _prompt(rng, (scene_looks[first], weight), (scene_looks[second], 1 - weight)),
    )


def _prompt(
    rng: np.random.Generator, *weighted: tuple[ColouredLook, float]
) -> list[tuple[str, float]]:
    return [
        (wordings.mistyped(rng, wordings.prompt(rng, *look)), weight)
        for look, weight in weighted
        if weight
    ]


def _shares(first: float) -> Shares:
    return np.array([0, first, 1 - first], np.float32)


def _source(
    rng: np.random.Generator,
    target: Shares,
    look: ColouredLook | None = None,
    *,
    pure: bool = True,
) -> Shares:
    """Return the shares of an input: mostly the scene, sometimes the result of a look."""
    camera = np.array([1, 0, 0], np.float32)
    if not pure or (look and look[0] == "negative"):
        return camera
    kind = rng.random()
    if kind < OWN:
        return target
    if kind >= MIXED or (look and not LOOKS[look[0]].idempotent):
        return camera
    part = np.float32(rng.random())
    return camera + part * (target - camera)


def _crop(
    rows: NDArray[np.generic], corner: tuple[int, ...], side: int, indices: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return ``(len(indices), C, side, side)`` of ``(n, C, H, W)``."""
    top, left = corner
    parts = [rows[i, :, top : top + side, left : left + side] for i in indices]
    return np.stack(parts).astype(np.float32)
