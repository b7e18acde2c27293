"""What the U-Net is taught, by rows: what is given, what is wanted, and the words for it.

Latents and pictures are mixed alike: a row is shares of a scene and of two of its looks.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import wordings
from training.dataset import Shards, Shown, looks_of
from training.looks import LOOKS

Shares = NDArray[np.float32]
"""Of a scene and of two of its looks, ``(3,)``, summing to 1."""
HOME = 40
"""The index of the schedule from which on, towards noise, a look is there in full."""
LAST_SHARE = 0.5
INDICES = (*[40] * 10, *[45] * 5, *range(20, 50))
"""Drawn from: mostly the home and one late step, else wherever structure survives."""
LINES = 1.6
"""How much more often a look made of lines is drawn, where pictures are asked for."""

EMPTY, UNKNOWN, BLEND = 0.10, 0.16, 0.22
"""Chances, summed up: no prompt, one that no look is, two looks at once."""
OWN, MIXED = 0.15, 0.25
"""Chances, summed up, that a look's own result is given, or a mixture with the source."""


class Lesson(NamedTuple):
    """A batch: latents ``(B, C, h, w)`` float32, and texts by row with weights that sum to 1."""

    given: Tensor
    wanted: Tensor
    indices: tuple[tuple[int, ...], ...]
    """By step, then by row: a lesson of several steps is a whole stream."""
    texts: list[str]
    rows: list[int]
    weights: list[float]
    pictures: Tensor | None
    """As wanted: ``(B, 3, 8h, 8w)`` in [-1, 1]."""


class Row(NamedTuple):
    """One row of a lesson."""

    scene: int
    looks: tuple[int, int]
    given: Shares
    target: Shares
    prompt: list[tuple[str, float]]


def share(index: int, steps: int = 50) -> float:
    """Return how much of a look a step at `index` is to bring about: late steps do less.

    So strength has a meaning for a model that would otherwise do the same wherever it starts,
    and a late step has a reason to leave alone what an earlier one has made.
    """
    late = max(0, index - HOME) / (steps - HOME)
    return 1 - (1 - LAST_SHARE) * late


def draw_lesson(
    rng: np.random.Generator,
    latents: Shards,
    count: int,
    side: int,
    *,
    steps: int = 1,
    pictures: Shards | None = None,
) -> Lesson:
    """Draw `count` rows of `side` by `side` latents, with their `pictures` where these are given.

    Rows are streams of so many `steps`, each nearer to the end than the one before.
    """
    streams = np.sort(rng.choice(INDICES, (count, steps)), axis=1)
    parts = [1 - float(np.prod([1 - share(int(i)) for i in stream])) for stream in streams]
    rows = [_row(rng, latents, pictures) for _ in range(count)]
    given, wanted, shown = [], [], []
    for row, part in zip(rows, parts, strict=True):
        corner = tuple(int(n) for n in rng.integers(latents[0].shape[-1] - side + 1, size=2))
        result = (1 - part) * row.given + part * row.target
        first, second = row.looks
        camera, clean, *looks = _cut(
            latents[row.scene], corner, side, (0, 1, 2 + first, 2 + second)
        )
        given.append(np.tensordot(row.given, np.stack([camera, *looks]), 1))
        wanted.append(np.tensordot(result, np.stack([clean, *looks]), 1))
        if pictures is not None:
            made = np.moveaxis(pictures[row.scene], -1, -3)
            corner = (8 * corner[0], 8 * corner[1])
            whole = _cut(made, corner, 8 * side, (0, 1 + first, 1 + second))
            shown.append(np.tensordot(result, whole, 1) / np.float32(127.5) - 1)
    prompts = [(text, i, weight) for i, row in enumerate(rows) for text, weight in row.prompt]
    return Lesson(
        given=torch.from_numpy(np.stack(given)),
        wanted=torch.from_numpy(np.stack(wanted)),
        indices=tuple(tuple(int(i) for i in step) for step in streams.T),
        texts=[text for text, _, _ in prompts],
        rows=[row for _, row, _ in prompts],
        weights=[weight for _, _, weight in prompts],
        pictures=torch.from_numpy(np.stack(shown)) if shown else None,
    )


def _row(rng: np.random.Generator, latents: Shards, pictures: Shards | None) -> Row:
    scene = int(rng.integers(len(latents)))
    shown = looks_of(latents.recipe, scene)
    if pictures is None:
        first, second = (int(i) for i in rng.choice(len(shown), 2))
    else:
        shown = shown[: len(pictures[scene]) - 1]
        odds = np.array([LINES if LOOKS[name].lines else 1.0 for name, _ in shown])
        first, second = (int(i) for i in rng.choice(len(shown), 2, p=odds / odds.sum()))
    kind = rng.random()
    if kind < UNKNOWN:
        text = wordings.EMPTY if kind < EMPTY else wordings.unknown(rng)
        given = _given(rng, _shares(1.0))
        return Row(scene, (first, second), given, given, [(text, 1.0)])
    weight = float(rng.random()) if kind < BLEND else 1.0
    target = _shares(weight)
    return Row(
        scene,
        (first, second),
        _given(rng, target, shown[first], pure=weight == 1),
        target,
        _prompt(rng, (shown[first], weight), (shown[second], 1 - weight)),
    )


def _prompt(rng: np.random.Generator, *weighted: tuple[Shown, float]) -> list[tuple[str, float]]:
    return [
        (wordings.mistyped(rng, wordings.prompt(rng, *shown)), weight)
        for shown, weight in weighted
        if weight
    ]


def _shares(first: float) -> Shares:
    return np.array([0, first, 1 - first], np.float32)


def _given(
    rng: np.random.Generator, target: Shares, shown: Shown | None = None, *, pure: bool = True
) -> Shares:
    """Return what goes in: mostly the scene, at times what a look has made already."""
    camera = np.array([1, 0, 0], np.float32)
    if not pure or (shown and shown[0] == "negative"):
        return camera
    kind = rng.random()
    if kind < OWN:
        return target
    if kind >= MIXED or (shown and not LOOKS[shown[0]].settles):
        return camera
    part = np.float32(rng.random())
    return camera + part * (target - camera)


def _cut(
    found: NDArray[np.generic], corner: tuple[int, ...], side: int, which: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return ``(len(which), C, side, side)`` of ``(n, C, H, W)``."""
    top, left = corner
    parts = [found[i, :, top : top + side, left : left + side] for i in which]
    return np.stack(parts).astype(np.float32)
