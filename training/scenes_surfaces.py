"""Cover a scene with the fine structure of real things: grain, fibres, scraps of all sizes.

Drawn shapes are smoother than anything in front of a camera. An autoencoder that has seen only
them blurs hair, cloth, leaves and writing.
"""

import numpy as np

from training.scenes_canvas import Array, Canvas, array, natural, octaves


def cover_with_details(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add fine structure to a part of the canvas, or nothing."""
    if rng.random() < 0.6:
        grain(canvas, rng)
    if rng.random() < 0.3:
        fibres(canvas, rng)
    if rng.random() < 0.3:
        crumbs(canvas, rng)


def region(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Return a soft mask (size, size) in 0..1 of a random part of the canvas."""
    wave = octaves(rng, canvas.size, coarse=2, fine=8)
    return np.clip((wave - rng.uniform(-0.8, 1.0)) * 6, 0, 1)


def grain(canvas: Canvas, rng: np.random.Generator) -> None:
    """Multiply a part by noise whose strength falls with its frequency, as in photographs."""
    fine = octaves(rng, canvas.size, coarse=16, fine=512, fall=rng.uniform(0.6, 1.1))
    canvas.multiply(1 + rng.uniform(0.03, 0.22) * fine * region(canvas, rng))


def fibres(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw many thin strokes in about one direction, as in hair, fur, grass and bark."""
    side = canvas.size
    middle, spread = rng.random(2), rng.uniform(0.05, 0.3)
    angle, colour = rng.uniform(0, 2 * np.pi), natural(rng)
    length, bend = rng.uniform(0.02, 0.12), rng.normal(0, 0.3)
    count = int(rng.integers(60, 500))
    starts = middle + rng.normal(0, spread, (count, 2))
    turns = angle + bend * (starts[:, 0] - middle[0]) / spread + rng.normal(0, 0.15, count)
    shades = rng.uniform(0.4, 1.6, count)
    for (x, y), turn, shade in zip(starts, turns, shades, strict=True):
        step = 0.5 * length * array([np.cos(turn), np.sin(turn)])
        curl = 0.5 * length * array([np.cos(turn + bend), np.sin(turn + bend)])
        canvas.line(
            [(x, y), (x + step[0], y + step[1]), tuple(array([x, y]) + step + curl)],
            colour * np.float32(shade),
            rng.uniform(0.5, 2.0) / side,
        )


def crumbs(canvas: Canvas, rng: np.random.Generator) -> None:
    """Scatter small shapes in a few colours, as leaves, gravel or print."""
    colours = [natural(rng) for _ in range(int(rng.integers(2, 5)))]
    middle, spread = rng.random(2), rng.uniform(0.05, 0.3)
    for _ in range(int(rng.integers(60, 500))):
        x, y = middle + rng.normal(0, spread, 2)
        size = 0.004 / (rng.random() + 0.15)
        turn = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
        shape = np.stack([x + size * np.cos(turn), y + size * np.sin(turn)], -1)
        shade = np.float32(rng.uniform(0.6, 1.4))
        canvas.fill(shape.astype(np.float32), colours[int(rng.integers(len(colours)))] * shade)
