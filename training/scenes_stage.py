"""Draw stages: beams in haze, lamps, moving figures, a crowd."""

from itertools import pairwise

import numpy as np

from training.scenes_canvas import (
    BLACK,
    Array,
    Canvas,
    Paint,
    array,
    box,
    capsule,
    natural,
    octaves,
    oval,
    rounded,
    sampled,
    vivid,
    warm,
)
from training.scenes_light import Frame, Light, coloured_light


def stage(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a dark stage: beams in haze, lamps, figures, the heads of a crowd."""
    canvas.cover(vivid(rng) * np.float32(rng.uniform(0.02, 0.12)))
    haze = np.clip(0.6 + 0.35 * octaves(rng, 64, fine=16), 0, None)
    for _ in range(int(rng.integers(1, 5))):
        beam(canvas, rng, haze)
    for _ in range(int(rng.integers(0, 8))):
        canvas.glow(rng.random(), rng.uniform(0, 0.4), rng.uniform(0.01, 0.06), vivid(rng))
    if rng.random() < 0.3:
        led_wall(canvas, rng)
    light = coloured_light(rng, ambient=rng.uniform(0, 0.1))
    for _ in range(int(rng.integers(0, 4))):
        figure(canvas, rng, light)
    if rng.random() < 0.4:
        crowd(canvas, rng)


def beam(canvas: Canvas, rng: np.random.Generator, haze: Array) -> None:
    """Draw the beam of a spotlight through haze (64, 64)."""
    x, end = rng.uniform(0, 1), rng.uniform(-0.2, 1.2)
    wide, colour = rng.uniform(0.05, 0.25), vivid(rng)
    cone = [(x - 0.01, -0.02), (x + 0.01, -0.02), (end + wide, 1.1), (end - wide, 1.1)]

    def lit(u: Array, v: Array) -> Array:
        return colour * sampled(haze, 2 * u - 1, 2 * v - 1)[..., None]

    canvas.paint(cone, lit, soft=0.015, opacity=rng.uniform(0.25, 0.7), adds=True)
    canvas.glow(x, 0.0, 0.05, colour)


def led_wall(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw an LED wall of large pixels at the back."""
    cells = int(rng.integers(4, 14))
    x, y, width, height = rng.uniform(0, 0.4), rng.uniform(0, 0.3), rng.uniform(0.3, 0.6), 0.4
    first, second = vivid(rng), vivid(rng)
    for row in range(cells):
        for column in range(cells):
            share = np.float32(rng.random())
            cell = box(
                x + column * width / cells,
                y + row * height / cells,
                0.85 * width / cells,
                0.8 * height / cells,
            )
            canvas.fill(cell, first * share + second * (1 - share))


def figure(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    """Draw a whole person, small or cut off, in movement."""
    height = rng.uniform(0.3, 0.9)
    body = Frame(
        rng.uniform(0.1, 0.9), rng.uniform(0.45, 0.8), height / 4, height / 4, rng.normal(0, 0.1)
    )
    cloth, legs, skin = (
        natural(rng),
        natural(rng) * np.float32(0.6),
        warm(rng, rng.uniform(0.3, 0.95)),
    )
    for side in (-1.0, 1.0):
        knee = (side * rng.uniform(0.15, 0.5), 1.5)
        foot = (knee[0] + side * rng.uniform(-0.2, 0.4), 2.4)
        limb(canvas, body, [(side * 0.2, 0.7), knee, foot], 0.2, body.lit(legs, light))
    torso = rounded([(-0.45, -0.85), (0.45, -0.85), (0.36, 0.8), (-0.36, 0.8)], 2)
    canvas.paint(body.place(torso), body.lit(cloth, light), soft=0.003)
    canvas.paint(body.place(oval(0, -1.3, 0.26, 0.33)), body.lit(skin, light, 0.5), soft=0.002)
    canvas.paint(body.place(oval(0, -1.42, 0.28, 0.25)), body.lit(natural(rng) * 0.3, light))
    for side in (-1.0, 1.0):
        elbow = (side * rng.uniform(0.5, 0.95), rng.uniform(-0.9, 0.2))
        hand = (elbow[0] + side * rng.uniform(-0.5, 0.5), elbow[1] + rng.uniform(-0.8, 0.6))
        limb(canvas, body, [(side * 0.4, -0.7), elbow, hand], 0.13, body.lit(skin, light))
    if rng.random() < 0.3:
        canvas.line(body.place([(0.5, -1.1), (0.6, 2.4)]), array([90, 90, 95]), 0.006)


def limb(
    canvas: Canvas, body: Frame, joints: list[tuple[float, float]], thick: float, paint: Paint
) -> None:
    """Paint an arm or a leg through its joints."""
    placed = body.place(joints)
    for start, end in pairwise(placed):
        canvas.paint(
            capsule(start, end, thick * body.rx, 0.75 * thick * body.rx), paint, soft=0.002
        )


def crowd(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw the heads and raised hands of the first rows as silhouettes."""
    for x in np.arange(0, 1.1, rng.uniform(0.07, 0.14)):
        y, size = rng.uniform(0.85, 1.0), rng.uniform(0.03, 0.06)
        canvas.fill(oval(x, y, size, 1.3 * size), BLACK + 6)
        canvas.fill(box(x - 1.8 * size, y + 1.3 * size, 3.6 * size, 0.3), BLACK + 6)
        if rng.random() < 0.3:
            hand = array([x + size, y - rng.uniform(0.08, 0.2)])
            canvas.fill(
                capsule(array([x + size, y + 0.1]), hand, 0.3 * size, 0.3 * size), BLACK + 6
            )
