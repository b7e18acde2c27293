"""Draw rooms: walls in perspective, and things in them."""

import numpy as np

from training.scenes_canvas import (
    BLACK,
    Canvas,
    array,
    box,
    natural,
    octaves,
    rounded,
    warm,
)
from training.scenes_things import (
    books,
    boxes,
    chair,
    cup,
    curtain,
    door,
    lamp,
    picture,
    plant,
    screen,
    shelf,
    window,
    writing,
)


def room(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a wall, often with a corner and a floor, and a few things."""
    wall(canvas, rng)
    if rng.random() < 0.5:
        corner(canvas, rng)
    things = (picture, shelf, window, plant, lamp, screen, boxes, writing, chair, curtain, door)
    for _ in range(int(rng.integers(1, 6))):
        things[int(rng.integers(len(things)))](canvas, rng)


def library(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw shelves of books over the whole wall or a part of it."""
    wall(canvas, rng)
    left, width = rng.uniform(-0.2, 0.4), rng.uniform(0.5, 1.3)
    wood, y = warm(rng, rng.uniform(0.25, 0.8)), rng.uniform(-0.15, 0.1)
    while y < 1:
        height = rng.uniform(0.12, 0.3)
        canvas.fill(box(left, y, width, height), wood * np.float32(0.4))
        books(canvas, rng, left + 0.01, y, width - 0.02, height)
        canvas.fill(box(left, y + height, width, 0.022), wood)
        y += height + 0.02


def office(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a desk in front of a wall, with screens, and sometimes a window."""
    wall(canvas, rng)
    if rng.random() < 0.6:
        window(canvas, rng)
    for _ in range(int(rng.integers(1, 3))):
        screen(canvas, rng)
    top = rng.uniform(0.68, 0.85)
    canvas.fill(box(-0.1, top, 1.2, 0.5), warm(rng, rng.uniform(0.3, 0.8)))
    canvas.line([(-0.1, top), (1.1, top)], array([30, 24, 20]), 0.008)
    for _ in range(int(rng.integers(0, 4))):
        cup(canvas, rng, rng.uniform(0, 1), top + rng.uniform(0, 0.1))


def kitchen(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw tiles, cupboards, hanging lamps, a worktop. Never used in training."""
    tile, joint = natural(rng) * np.float32(0.4) + 140, array([120, 116, 110])
    canvas.cover(tile)
    side = rng.uniform(0.06, 0.12)
    for place in np.arange(0, 1.01, side):
        canvas.line([(place, 0), (place, 1)], joint, 0.004)
        canvas.line([(0, place), (1, place)], joint, 0.004)
    wood, width = natural(rng), rng.uniform(0.2, 0.35)
    for left in np.arange(-0.05, 1.0, width):
        canvas.fill(box(left, -0.1, width * 0.97, 0.38), wood)
        canvas.line(
            box(left + 0.02, -0.08, width * 0.97 - 0.04, 0.34), wood * 0.6, 0.006, closed=True
        )
        canvas.line([(left + 0.04, 0.2), (left + 0.04, 0.25)], array([210, 210, 205]), 0.012)
    canvas.fill(box(0, 0.72, 1, 0.06), natural(rng) * np.float32(0.5))
    canvas.fill(box(0, 0.78, 1, 0.3), wood * np.float32(0.8))
    for x in rng.uniform(0.1, 0.9, int(rng.integers(1, 3))):
        canvas.line([(x, 0), (x, 0.3)], BLACK, 0.006)
        canvas.fill(rounded([(x - 0.08, 0.4), (x, 0.27), (x + 0.08, 0.4)], 2), natural(rng))
        canvas.glow(x, 0.41, 0.1, array([110, 90, 50]))


def wall(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a wall: plaster, striped wallpaper, or bricks."""
    colour = natural(rng)
    kind = rng.random()
    towards, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    across = (canvas.x - 0.5) * np.cos(towards) + (canvas.y - 0.5) * np.sin(towards)
    shade = 1 + fall * across.astype(np.float32)
    if kind < 0.55:
        shade = shade * (1 + rng.uniform(0, 0.05) * octaves(rng, canvas.size))
    elif kind < 0.7:
        stripes = np.sin(canvas.x * np.float32(2 * np.pi / rng.uniform(0.04, 0.2)))
        shade = shade * (1 + rng.uniform(0.03, 0.12) * np.clip(stripes * 3, -1, 1))
    canvas.cover(colour * shade[..., None].astype(np.float32))
    if kind > 0.85:
        bricks(canvas, rng)


def bricks(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw bricks of slightly different colours on the whole wall."""
    base, height = warm(rng, rng.uniform(0.3, 0.8)), rng.uniform(0.035, 0.07)
    width = height * 2.6
    for row in range(int(1 / height) + 1):
        for column in range(-1, int(1 / width) + 1):
            shift = 0.5 * width * (row % 2)
            place = box(column * width + shift, row * height, width * 0.94, height * 0.86)
            canvas.fill(place, base * np.float32(rng.uniform(0.75, 1.2)))


def corner(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a floor, and side walls that meet the far one."""
    floor, left, right = rng.uniform(0.65, 0.95), rng.uniform(-0.3, 0.3), rng.uniform(0.7, 1.3)
    sides = [[(0, -0.5), (left, -0.1), (left, floor), (0, 1.2)]]
    sides.append([(1, -0.5), (right, -0.1), (right, floor), (1, 1.2)])
    for side in sides:
        canvas.paint(side, BLACK, opacity=rng.uniform(0.1, 0.35))
    ground = [(left, floor), (right, floor), (1.3, 1.3), (-0.3, 1.3)]
    colour = warm(rng, rng.uniform(0.2, 0.8))
    canvas.fill(ground, colour)
    if rng.random() < 0.5:
        for x in np.linspace(-0.6, 1.6, 14):
            canvas.line(
                [(left + (right - left) * x, floor), (x * 2.2 - 0.6, 1.2)], colour * 0.7, 0.003
            )
    canvas.line([(left, floor), (right, floor)], array([225, 220, 212]), 0.01)
