"""Draw things in rooms: pictures, windows, lamps, screens, plants."""

import numpy as np

from training.scenes_canvas import (
    Array,
    Canvas,
    array,
    box,
    capsule,
    natural,
    oval,
    rgb,
    rounded,
    vivid,
    warm,
)

WHITE = array([255, 255, 255])
LETTERS = "ABCDEFGHIKLMNOPRSTUVWZ 0123456789 abcdefghiklmnoprstuvwz"


def books(
    canvas: Canvas, rng: np.random.Generator, left: float, top: float, width: float, height: float
) -> None:
    """Draw a row of books, with gaps and labels."""
    x = left
    while x < left + width - 0.02:
        thick = min(rng.uniform(0.015, 0.055), left + width - x)
        if rng.random() < 0.88:
            tall = height * rng.uniform(0.6, 0.95)
            colour = natural(rng)
            canvas.fill(box(x, top + height - tall, thick * 0.95, tall), colour)
            canvas.line([(x, top + height - tall), (x, top + height)], colour * 0.5, 0.004)
            if rng.random() < 0.4:
                canvas.fill(
                    box(x + 0.2 * thick, top + height - 0.8 * tall, 0.6 * thick, 0.2 * tall),
                    natural(rng),
                )
        x += thick


def shelf(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a board with a few books."""
    x, y, width = rng.uniform(-0.1, 0.7), rng.uniform(0.12, 0.6), rng.uniform(0.25, 0.6)
    books(canvas, rng, x, y - 0.15, width, 0.15)
    canvas.fill(box(x, y, width, 0.02), warm(rng, rng.uniform(0.2, 0.8)))


def picture(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a framed picture with shapes."""
    x, y = rng.uniform(-0.1, 0.85), rng.uniform(-0.1, 0.5)
    width, height = rng.uniform(0.12, 0.45, 2)
    canvas.fill(box(x, y, width, height), natural(rng))
    edge = rng.uniform(0.008, 0.03)
    inner = box(x + edge, y + edge, width - 2 * edge, height - 2 * edge)
    canvas.fill(inner, natural(rng))
    for _ in range(int(rng.integers(1, 5))):
        blob = oval(*rng.uniform((x, y), (x + width, y + height)), *rng.uniform(0.02, 0.15, 2))
        canvas.paint(blob, natural(rng), within=inner)


def window(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a bright window: sky, glare or blinds, with bars."""
    x, y = rng.uniform(-0.2, 0.7), rng.uniform(-0.2, 0.3)
    width, height = rng.uniform(0.25, 0.6), rng.uniform(0.3, 0.7)
    canvas.fill(box(x - 0.015, y - 0.015, width + 0.03, height + 0.03), natural(rng) * 0.4 + 130)
    bright = rng.uniform(190, 255)
    high, low = rgb(0.58, rng.uniform(0, 0.4), 1) * (bright / 255), array([bright] * 3)
    pane = box(x, y, width, height)
    canvas.paint(pane, lambda _, v: high + (low - high) * ((v - y) / height)[..., None])
    if rng.random() < 0.4:
        for at in np.arange(y, y + height, rng.uniform(0.02, 0.05)):
            canvas.line([(x, at), (x + width, at)], array([170, 165, 155]), 0.008)
    else:
        canvas.line([(x + width / 2, y), (x + width / 2, y + height)], low * 0.75, 0.014)
    if rng.random() < 0.6:
        canvas.glow(x + width / 2, y + height / 2, 0.6 * width, array([70, 70, 72]))


def plant(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a plant in a pot."""
    x, y, size = rng.uniform(0, 1), rng.uniform(0.3, 0.9), rng.uniform(0.06, 0.18)
    pot = [
        (x - 0.4 * size, y),
        (x + 0.4 * size, y),
        (x + 0.3 * size, y + size),
        (x - 0.3 * size, y + size),
    ]
    canvas.fill(pot, warm(rng, rng.uniform(0.3, 0.9)))
    green = rgb(rng.uniform(0.2, 0.42), rng.uniform(0.3, 0.8), rng.uniform(0.25, 0.7))
    for _ in range(int(rng.integers(6, 22))):
        angle, long = rng.normal(-np.pi / 2, 0.9), size * rng.uniform(0.6, 1.6)
        tip = (x + np.cos(angle) * long, y + np.sin(angle) * long)
        leaf = oval(
            (x + tip[0]) / 2, (y + tip[1]) / 2, long * 0.6, long * rng.uniform(0.1, 0.25), angle
        )
        canvas.fill(leaf, green * np.float32(rng.uniform(0.6, 1.3)))


def lamp(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a lamp that lights its surroundings."""
    x, y, size = rng.uniform(0, 1), rng.uniform(0.15, 0.6), rng.uniform(0.05, 0.13)
    canvas.line([(x, y), (x, 1.1)], array([40, 36, 34]), 0.01)
    shade = [(x - 0.6 * size, y - size), (x + 0.6 * size, y - size), (x + size, y), (x - size, y)]
    glow = array([255, rng.uniform(195, 245), rng.uniform(120, 215)])
    canvas.fill(shade, glow)
    canvas.glow(
        x, y - 0.4 * size, rng.uniform(1.5, 4) * size, glow * np.float32(rng.uniform(0.3, 0.7))
    )


def screen(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a monitor with windows and lines of text."""
    x, y = rng.uniform(-0.1, 0.75), rng.uniform(0.2, 0.55)
    width = rng.uniform(0.2, 0.45)
    height = width * 0.6
    canvas.fill(box(x - 0.012, y - 0.012, width + 0.024, height + 0.03), array([22, 22, 24]))
    canvas.fill(box(x, y, width, height), vivid(rng) if rng.random() < 0.3 else natural(rng))
    ink = WHITE if rng.random() < 0.5 else array([30, 30, 34])
    for row in np.arange(y + 0.02, y + height - 0.02, 0.025):
        start = x + 0.02 + 0.02 * rng.integers(0, 3)
        canvas.line([(start, row), (start + rng.uniform(0.1, 0.7) * width, row)], ink, 0.004)
    canvas.fill(box(x + 0.45 * width, y + height + 0.018, 0.1 * width, 0.08), array([30, 30, 32]))


def boxes(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a piece of furniture: a front, its top edge lit, doors."""
    x, y = rng.uniform(-0.1, 0.8), rng.uniform(0.4, 0.85)
    width, colour = rng.uniform(0.15, 0.5), warm(rng, rng.uniform(0.2, 0.9))
    canvas.fill(box(x, y, width, 1.1 - y), colour)
    canvas.fill(box(x, y, width, 0.02), np.minimum(colour * np.float32(1.3), 255))
    for part in range(int(rng.integers(1, 4))):
        at = y + 0.04 + 0.14 * part
        canvas.line(box(x + 0.02, at, width - 0.04, 0.11), colour * 0.55, 0.005, closed=True)


def writing(canvas: Canvas, rng: np.random.Generator) -> None:
    """Write a random word."""
    word = "".join(LETTERS[i] for i in rng.integers(0, len(LETTERS), int(rng.integers(3, 9))))
    place = rng.uniform(0, 0.6), rng.uniform(0.1, 0.9)
    canvas.write(word, *place, rng.uniform(0.04, 0.14), natural(rng), int(rng.integers(0, 6)))


def chair(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw the back of a chair where a person sits."""
    x, top, wide = rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.7), rng.uniform(0.14, 0.26)
    colour = natural(rng) * np.float32(0.5)
    back = [(x - wide, 1.2), (x - wide * 0.9, top), (x + wide * 0.9, top), (x + wide, 1.2)]
    canvas.fill(rounded(back, 3), colour)
    canvas.line([(x, top + 0.05), (x, 1.1)], colour * 0.6, 0.008)


def curtain(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw cloth in folds."""
    x, width = rng.uniform(-0.1, 0.8), rng.uniform(0.15, 0.6)
    colour, period, phase = natural(rng), rng.uniform(0.03, 0.09), rng.uniform(0, 6)

    def folds(u: Array, v: Array) -> Array:
        wave = np.sin((u + 0.015 * np.sin(v * 5 + phase)) * np.float32(2 * np.pi / period))
        return colour * (0.78 + 0.3 * wave)[..., None]

    canvas.paint(box(x, -0.1, width, 1.3), folds)


def door(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a door with a handle."""
    x, top, colour = rng.uniform(-0.1, 0.8), rng.uniform(-0.1, 0.2), natural(rng)
    canvas.fill(box(x, top, 0.3, 1.2), colour)
    canvas.line(box(x, top, 0.3, 1.2), colour * 0.5, 0.012, closed=True)
    canvas.line(box(x + 0.05, top + 0.06, 0.2, 0.35), colour * 0.7, 0.006, closed=True)
    canvas.line([(x + 0.24, top + 0.55), (x + 0.28, top + 0.55)], array([215, 205, 170]), 0.015)


def cup(canvas: Canvas, rng: np.random.Generator, x: float, y: float) -> None:
    """Draw a cup whose base is at x, y."""
    size, colour = rng.uniform(0.02, 0.05), natural(rng)
    canvas.line(oval(x + size, y - size, 0.6 * size, 0.6 * size), colour * 0.7, 0.01, closed=True)

    def body(u: Array, _: Array) -> Array:
        return colour * (1.1 - 0.5 * np.abs((u - x) / size + 0.3))[..., None]

    canvas.paint(capsule(array([x, y - 1.5 * size]), array([x, y]), size, size), body)
    canvas.fill(oval(x, y - 1.6 * size, size, 0.4 * size), colour * np.float32(0.4))
