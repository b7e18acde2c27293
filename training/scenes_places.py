"""Draw streets, landscapes, still lifes and plain textures."""

import numpy as np

from training.scenes_canvas import (
    BLACK,
    Canvas,
    array,
    box,
    natural,
    octaves,
    oval,
    pick,
    rgb,
    rounded,
    vivid,
    warm,
)
from training.scenes_light import Frame, coloured_light
from training.scenes_things import cup, writing


def street(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw houses, trees and a sky."""
    sky(canvas, rng)
    for _ in range(int(rng.integers(2, 7))):
        x, top, width = rng.uniform(-0.1, 0.9), rng.uniform(0.1, 0.6), rng.uniform(0.12, 0.35)
        house, pane = natural(rng), natural(rng)
        canvas.fill(box(x, top, width, 1), house)
        step = rng.uniform(0.03, 0.07)
        for row in np.arange(top + 0.03, 0.95, step * 1.5):
            for column in np.arange(x + 0.02, x + width - 0.03, step):
                canvas.fill(box(column, row, step * 0.6, step * 0.9), pane)
    canvas.fill(box(0, rng.uniform(0.8, 0.95), 1, 0.5), array([1, 1, 1.05]) * rng.uniform(40, 120))
    for _ in range(int(rng.integers(0, 4))):
        tree(canvas, rng)


def meadow(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw hills behind hills, and trees."""
    sky(canvas, rng)
    green = rgb(rng.uniform(0.15, 0.4), rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.7))
    for hill in range(int(rng.integers(1, 5))):
        x = np.linspace(-0.05, 1.05, 24)
        waves = sum(
            rng.uniform(0, 0.08) * np.sin(x * rng.uniform(2, 12) + rng.uniform(0, 6))
            for _ in range(3)
        )
        ridge = np.stack([x, 0.4 + 0.13 * hill + waves], -1)
        shape = np.concatenate([ridge, [(1.05, 1.2), (-0.05, 1.2)]])
        canvas.fill(shape.astype(np.float32), green * np.float32(rng.uniform(0.6, 1.2)))
    for _ in range(int(rng.integers(0, 6))):
        tree(canvas, rng)
    canvas.multiply(1 + 0.07 * octaves(rng, canvas.size, coarse=8))


def seaside(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw sea, sand, the sun and a sail. Never used in training."""
    sky(canvas, rng)
    horizon = rng.uniform(0.35, 0.6)
    canvas.fill(box(0, horizon, 1, 1), rgb(rng.uniform(0.48, 0.62), 0.6, rng.uniform(0.3, 0.8)))
    for _ in range(40):
        x, y = rng.random(), horizon + (1 - horizon) * rng.random() ** 1.5
        long = 0.02 + 0.12 * (y - horizon)
        canvas.line([(x - long, y), (x + long, y)], array([225, 235, 240]), 0.004)
    shore = [
        (-0.1, rng.uniform(0.75, 0.9)),
        (0.4, rng.uniform(0.8, 0.95)),
        (1.1, rng.uniform(0.7, 1)),
    ]
    canvas.fill([*shore, (1.1, 1.2), (-0.1, 1.2)], warm(rng, rng.uniform(0.7, 0.95)))
    canvas.glow(rng.random(), horizon * rng.random(), 0.06, array([255, 240, 200]))
    x = rng.uniform(0.1, 0.9)
    canvas.fill(
        [(x, horizon - 0.16), (x + 0.07, horizon - 0.01), (x, horizon - 0.01)], natural(rng) + 90
    )


def sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a sky, clear or with clouds."""
    high = rgb(rng.uniform(0.52, 0.68), rng.uniform(0.1, 0.7), rng.uniform(0.3, 1))
    low = rgb(rng.random(), rng.uniform(0, 0.4), rng.uniform(0.6, 1))
    canvas.cover(lambda _, y: high + (low - high) * y[..., None])
    if rng.random() < 0.6:
        clouds = np.clip(octaves(rng, canvas.size, fine=64) * 0.6, 0, 1)
        canvas.cover(array([240, 240, 245]), clouds * rng.uniform(0.4, 1))


def tree(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a tree."""
    x, y, size = rng.uniform(0, 1), rng.uniform(0.4, 0.8), rng.uniform(0.08, 0.22)
    canvas.line([(x, y), (x, y + 1.8 * size)], warm(rng, rng.uniform(0.15, 0.4)), 0.14 * size)
    green = rgb(rng.uniform(0.12, 0.42), rng.uniform(0.3, 0.8), rng.uniform(0.2, 0.6))
    for _ in range(14):
        around = rng.normal(0, 0.5 * size, 2)
        wide, high = size * rng.uniform(0.2, 0.45, 2)
        blob = oval(x + around[0], y + around[1], wide, high, corners=12)
        canvas.fill(blob, green * np.float32(rng.uniform(0.65, 1.25)))


def still_life(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw balls, boxes and cups on a table."""
    texture(canvas, rng)
    top = rng.uniform(0.5, 0.7)
    canvas.fill(box(0, top, 1, 1), warm(rng, rng.uniform(0.3, 0.9)))
    light = coloured_light(rng, 0.5)
    for _ in range(int(rng.integers(2, 8))):
        x, y, size = rng.uniform(0, 1), rng.uniform(top, 0.95), rng.uniform(0.04, 0.16)
        canvas.paint(oval(x, y + 0.02, 1.2 * size, 0.3 * size), BLACK, soft=0.02, opacity=0.5)
        kind = rng.integers(3)
        if kind == 0:
            ball = Frame(x, y - size, size, size)
            canvas.paint(ball.place(oval(0, 0, 1, 1)), ball.lit(natural(rng), light, 0.98))
        elif kind == 1:
            side = Frame(x, y - size, size, size, rng.normal(0, 0.1))
            canvas.paint(side.place(box(-1, -1, 2, 2)), side.lit(natural(rng), light, 0.1))
            canvas.fill(side.place([(1, -1), (1.4, -1.2), (1.4, 0.7), (1, 1)]), natural(rng) * 0.5)
        else:
            cup(canvas, rng, x, y)


def texture(canvas: Canvas, rng: np.random.Generator) -> None:
    """Fill with a gradient, cloud, weave or the rings of wood."""
    first, second = natural(rng), natural(rng)
    kind, scale = pick(rng, 2, 3, 1.5, 1.5), 2 * np.pi / rng.uniform(0.03, 0.15)
    angle = rng.uniform(0, 2 * np.pi)
    across = canvas.x * np.cos(angle) + canvas.y * np.sin(angle)
    if kind == 0:
        share = np.clip(0.5 + (across - across.mean()) * rng.uniform(0.3, 1.2), 0, 1)
    elif kind == 1:
        share = np.clip(0.5 + 0.3 * octaves(rng, canvas.size, fall=rng.uniform(0.4, 0.8)), 0, 1)
    elif kind == 2:
        down = canvas.y * np.cos(angle) - canvas.x * np.sin(angle)
        share = 0.5 + 0.25 * (np.sin(across * scale) + np.sin(down * scale))
    else:
        share = 0.5 + 0.5 * np.sin(across * scale + 2.5 * octaves(rng, canvas.size, fine=8))
    canvas.cover(first + (second - first) * share.astype(np.float32)[..., None])


def scraps(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw overlapping shapes of all sizes, as in the dead leaves model (Lee et al. 2001)."""
    texture(canvas, rng)
    for _ in range(int(rng.integers(20, 120))):
        size = min(0.4, 0.016 / (rng.random() + 0.03) ** 0.9)
        x, y = rng.random(2)
        turn = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        shape = np.stack([x + size * np.cos(turn), y + size * np.sin(turn)], -1)
        kind = rng.integers(3)
        outline = (shape, rounded(shape), oval(x, y, size, size * rng.uniform(0.3, 1), turn[0]))[
            kind
        ]
        canvas.fill(outline.astype(np.float32), natural(rng))
    if rng.random() < 0.3:
        writing(canvas, rng)


def card(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a page of text, a chart or colour bars."""
    canvas.cover(natural(rng) * np.float32(0.3) + 170)
    kind = rng.integers(3)
    if kind == 0:
        for bar in range(8):
            canvas.fill(box(bar / 8, 0, 0.125, rng.uniform(0.6, 1)), vivid(rng))
    elif kind == 1:
        for row in np.arange(0.08, 0.95, rng.uniform(0.05, 0.12)):
            canvas.write("the quick brown fox jumps", 0.04, row, 0.03, array([30, 30, 34]), 0)
    else:
        for ring in range(10, 0, -1):
            shade = array([20, 20, 20]) if ring % 2 else array([235, 235, 235])
            canvas.fill(oval(0.5, 0.5, 0.045 * ring, 0.045 * ring), shade)
    for _ in range(3):
        writing(canvas, rng)
