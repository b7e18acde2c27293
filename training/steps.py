"""Draw batches of whole streams: cameras' views, targets in looks, prompts, noise levels."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import looks, wordings
from training.dataset import as_delivered
from training.frames import FrameSet
from training.looks import LOOKS
from training.looks_grids import CELL
from training.pairs import BLEND, EMPTY, LAST_SHARE, MIXED, OWN, UNKNOWN
from training.views import draw_view

DEFAULT_INDEX = 40
INDICES = (*[40] * 26, *[45] * 8, *range(20, 50), *range(30, 50), *range(0, 20, 2))
"""Indices to draw from: mostly the default and late ones, sometimes any."""
SHIFT = 12
"""Largest shift in pixels between the two views of a pair."""


class Streams(NamedTuple):
    """Batch of streams; images are ``(B, 3, H, W)`` in [-1, 1]."""

    inputs: Tensor
    targets: Tensor
    focus: Tensor
    """``(B, 1, H, W)`` in 0..1: eyes and mouths."""
    indices: tuple[tuple[int, ...], ...]
    texts: list[str]
    rows: list[int]
    weights: list[float]
    moved: Tensor | None
    """``(B / 2, 2)``: how far down and right the second half shows what the first does."""


def share(index: int, steps: int = 50) -> float:
    """Return the share of a look that a step at `index` applies: late steps apply less."""
    late = max(0, index - DEFAULT_INDEX) / (steps - DEFAULT_INDEX)
    return 1 - (1 - LAST_SHARE) * late


class View(NamedTuple):
    """One row of a batch, as float images (H, W, 3) in 0..255."""

    camera: NDArray[np.float32]
    target: NDArray[np.float32]
    focus: NDArray[np.uint8]
    prompt: list[tuple[str, float]]
    gridded: bool = False
    """Whether its look is: see `Look.gridded`."""


def draw_streams(
    rng: np.random.Generator,
    frames: FrameSet,
    count: int,
    size: tuple[int, int],
    *,
    steps: int = 1,
    paired: bool = False,
) -> Streams:
    """Draw `count` streams of `steps` steps; if `paired`, each view is followed by it moved."""
    streams = np.sort(rng.choice(INDICES, (count, steps)), axis=1)
    moved = None
    if paired:
        count //= 2
        streams = np.concatenate([streams[:count], streams[:count]])
        moved = rng.integers(-SHIFT, SHIFT + 1, (count, 2))
    parts = [1 - float(np.prod([1 - share(int(i)) for i in stream])) for stream in streams]
    height, width = size
    views: list[View] = []
    again: list[View] = []
    for i in range(count):
        if moved is None:
            views.append(_view(rng, draw_view(rng, frames, height, width), parts[i]))
            continue
        large = draw_view(rng, frames, height + 2 * SHIFT + 8, width + 2 * SHIFT + 8)
        seeds = int(rng.integers(1 << 31)), int(rng.integers(1 << 31))
        for number, group in enumerate((views, again)):
            down, right = moved[i] if number else (0, 0)
            top, left = SHIFT + down, SHIFT + right
            part = large[top : top + height, left : left + width]
            drawn = np.random.default_rng(seeds[0])
            noise = np.random.default_rng((seeds[1], number))
            view = _view(drawn, np.ascontiguousarray(part), parts[i], noise)
            group.append(view)
            if view.gridded:
                moved[i] = CELL * np.trunc(moved[i] / CELL)
    views += again
    prompts = [(text, i, weight) for i, view in enumerate(views) for text, weight in view.prompt]
    return Streams(
        inputs=_tensor([view.camera for view in views]),
        targets=_tensor([view.target for view in views]),
        focus=torch.from_numpy(np.stack([view.focus for view in views])).unsqueeze(1) / 255,
        indices=tuple(tuple(int(i) for i in step) for step in streams.T),
        texts=[text for text, _, _ in prompts],
        rows=[row for _, row, _ in prompts],
        weights=[weight for _, _, weight in prompts],
        moved=None if moved is None else torch.from_numpy(moved),
    )


def _tensor(images: list[NDArray[np.float32]]) -> Tensor:
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1
    return stacked.contiguous(memory_format=torch.channels_last)


def _view(
    rng: np.random.Generator,
    view: NDArray[np.uint8],
    part: float,
    noise: np.random.Generator | None = None,
) -> View:
    """Return a row: the view as a camera delivers it, and the target of its prompt."""
    clean, focus = np.ascontiguousarray(view[..., :3]), view[..., 3]
    kind = rng.random()
    if kind < UNKNOWN:
        text = wordings.EMPTY if kind < EMPTY else wordings.unknown(rng)
        source = clean
        if rng.random() < 0.25:
            source = looks.render(clean, *looks.draw_look(rng))
        delivered = as_delivered(noise or rng, source) if source is clean else source
        return View(_float(delivered), _float(source), focus, [(text, 1.0)])
    first = looks.draw_look(rng)
    weighted = [(first, 1.0)]
    if kind < BLEND:
        weight = float(rng.choice([0.5, rng.random()]))
        weighted = [(first, weight), (looks.draw_look(rng), 1 - weight)]
    prompt = [(wordings.mistyped(rng, wordings.prompt(rng, *look)), w) for look, w in weighted]
    whole = sum(np.float32(w) * _float(looks.render(clean, *look)) for look, w in weighted)
    own, mix = rng.random(2)
    source, camera = _float(clean), _float(as_delivered(noise or rng, clean))
    if len(weighted) == 1 and first[0] != "negative":
        if own < OWN:
            source = camera = whole
        elif own < MIXED and LOOKS[first[0]].idempotent:
            source = source + np.float32(mix) * (whole - source)
            camera = source
    target = source + np.float32(part) * (whole - source)
    gridded = any(LOOKS[name].gridded for (name, _), _ in weighted)
    return View(camera, target, focus, prompt, gridded)


def _float(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return image.astype(np.float32)
