"""Draw people: their looks, poses, bodies, clothes and hands."""

from dataclasses import dataclass

import numpy as np

from training.scenes_canvas import (
    Array,
    Canvas,
    Paint,
    array,
    capsule,
    natural,
    octaves,
    pick,
    rgb,
    rounded,
    sampled,
)
from training.scenes_light import Frame, Light

SKINS = array(
    [
        (255, 222, 200),
        (245, 200, 168),
        (228, 178, 136),
        (200, 142, 102),
        (150, 96, 64),
        (100, 64, 46),
        (70, 44, 34),
    ]
)
HAIRS = array(
    [
        (22, 18, 16),
        (58, 38, 26),
        (104, 70, 42),
        (186, 150, 96),
        (150, 66, 32),
        (132, 130, 128),
        (222, 218, 210),
    ]
)
CUTS = ("bald", "short", "parted", "long", "curly", "bun")
TRAINED_HATS = ("", "headphones", "beanie")
TRAINED_MOTIFS = ("plain", "stripes", "check", "mottled", "print")
# Never used in training.
HELD_OUT_HATS = ("", "cap")
HELD_OUT_MOTIFS = ("plain", "dots")


@dataclass(frozen=True)
class Person:
    """Appearance of a person; a drawing depends on it and on a `Pose` alone."""

    skin: Array
    hair: Array
    cut: str
    slim: float
    iris: Array
    lips: Array
    brows: float
    beard: float
    glasses: str
    glass_colour: Array
    hat: str
    hat_colour: Array
    cloth: Array
    other_cloth: Array
    motif: str
    motif_scale: float
    collar: float
    shoulders: float
    grain: Array
    """Noise (64, 64) for hair and cloth."""
    seed: int


@dataclass(frozen=True)
class Pose:
    """Position and half height of the head, and expression of the face; angles in radians."""

    x: float
    y: float
    radius: float
    tilt: float = 0.0
    turn: float = 0.0
    nod: float = 0.0
    eyes: float = 1.0
    mouth: float = 0.0
    smile: float = 0.0
    glance: float = 0.0


def draw_person(rng: np.random.Generator, *, held_out: bool = False) -> Person:
    """Draw the appearance of a person."""
    hats = HELD_OUT_HATS if held_out else TRAINED_HATS
    motifs = HELD_OUT_MOTIFS if held_out else TRAINED_MOTIFS
    skin = SKINS[rng.integers(len(SKINS))] * np.float32(rng.uniform(0.92, 1.05))
    hair = HAIRS[rng.integers(len(HAIRS))] if rng.random() < 0.93 else natural(rng)
    irises = [(0.08, 0.6, 0.35), (0.58, 0.5, 0.6), (0.3, 0.4, 0.45), (0.07, 0.6, 0.2)]
    return Person(
        skin=skin,
        hair=hair,
        cut=CUTS[pick(rng, 1, 3, 2, 3, 1.5, 1)],
        slim=rng.uniform(0.68, 0.82),
        iris=rgb(*irises[int(rng.integers(4))]),
        lips=skin * array([0.92, rng.uniform(0.5, 0.72), rng.uniform(0.52, 0.75)]),
        brows=rng.uniform(0.5, 1.3),
        beard=rng.uniform(0.35, 0.95) if rng.random() < 0.25 else 0.0,
        glasses=("", "round", "square")[pick(rng, 6, 2, 2)],
        glass_colour=array([18, 18, 22]) if rng.random() < 0.6 else natural(rng),
        hat=hats[pick(rng, *[4 if hat == "" else 1 for hat in hats])],
        hat_colour=natural(rng) * np.float32(0.7),
        cloth=natural(rng),
        other_cloth=natural(rng),
        motif=motifs[int(rng.integers(len(motifs)))],
        motif_scale=rng.uniform(0.06, 0.3),
        collar=rng.uniform(0.1, 0.9),
        shoulders=rng.uniform(1.9, 2.7),
        grain=octaves(rng, 64, coarse=2, fine=32),
        seed=int(rng.integers(1 << 31)),
    )


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw a pose in front of a camera: mostly whole, sometimes near or cut off."""
    kind = pick(rng, 6, 2, 1.5)
    radius = (rng.uniform(0.13, 0.24), rng.uniform(0.24, 0.38), rng.uniform(0.06, 0.13))[kind]
    return Pose(
        x=float(np.clip(rng.normal(0.5, 0.17), -0.05, 1.05)),
        y=rng.uniform(0.28, 0.6) if kind else rng.uniform(0.25, 0.52),
        radius=radius,
        tilt=rng.normal(0, 0.13),
        turn=rng.normal(0, 0.3),
        nod=rng.normal(0, 0.12),
        eyes=float(rng.choice([1, 1, 1, 0.7, 0.12])),
        mouth=float(rng.choice([0, 0, 0, 0.4, 1.0])),
        smile=float(rng.normal(0.25, 0.5)),
        glance=rng.normal(0, 0.25),
    )


def paint_body(canvas: Canvas, person: Person, pose: Pose, light: Light) -> None:
    """Paint shoulders, clothes and neck."""
    r, rx = pose.radius, pose.radius * person.slim
    top = pose.y + 1.3 * r
    body = Frame(pose.x, top + 1.6 * r, rx * person.shoulders, 1.7 * r, pose.tilt * 0.25)
    half = [(0.2, -1.0), (0.55, -0.86), (0.88, -0.62), (1.0, -0.1), (1.06, 3.0)]
    outline = rounded([*half, *((-u, v) for u, v in reversed(half))], 2)
    canvas.paint(body.place(outline), clothing(person, body, light), soft=0.02 * r)
    neck = Frame(pose.x, pose.y + 0.85 * r, 0.45 * rx, 0.62 * r, pose.tilt * 0.5)
    opening = [(-1, -1), (1, -1), (1.05, 0.7), (0.1, 0.75 + person.collar), (-1.05, 0.7)]
    canvas.paint(neck.place(opening), neck_paint(person, neck, light), soft=0.015 * r)
    if person.collar > 0.5:
        fold = [(-1.15, 0.5), (0.1, 0.75 + person.collar), (1.15, 0.5)]
        canvas.line(neck.place(fold), person.cloth * np.float32(0.55), 0.03 * r)


def neck_paint(person: Person, neck: Frame, light: Light) -> Paint:
    """Return skin in the shadow of the chin."""

    def paint(x: Array, y: Array) -> Array:
        u, v = neck.local(x, y)
        shadow = 0.92 - 0.42 * np.clip(0.6 - v, 0, 1)
        return person.skin * light.on(u, v * 0.2) * shadow[..., None]

    return paint


def clothing(person: Person, body: Frame, light: Light) -> Paint:
    """Return cloth with its pattern, folds and light."""

    def paint(x: Array, y: Array) -> Array:
        u, v = body.local(x, y)
        share = pattern(person, u * person.shoulders, v * 1.7)[..., None]
        cloth = person.cloth + (person.other_cloth - person.cloth) * share
        folds = 1 + 0.09 * sampled(person.grain, u * 0.4 + v * 0.15, v * 0.25)
        return array(cloth * light.on(u * 0.9, np.clip(v, -1, 0.6) * 0.6) * folds[..., None])

    return paint


def pattern(person: Person, u: Array, v: Array) -> Array:
    """Return the share (h, w) of the second colour, in 0..1."""
    scale = np.float32(2 * np.pi / person.motif_scale)
    if person.motif == "stripes":
        angle = person.seed % 3 * np.float32(np.pi / 4)
        return smooth(np.sin((u * np.cos(angle) + v * np.sin(angle)) * scale))
    if person.motif == "check":
        return 0.5 * (smooth(np.sin(u * scale)) + smooth(np.sin(v * scale)))
    if person.motif == "dots":
        return smooth(np.cos(u * scale) + np.cos(v * scale) - 0.9)
    if person.motif == "mottled":
        return np.clip(0.5 + 0.3 * sampled(person.grain, u * 0.7, v * 0.7), 0, 1)
    if person.motif == "print":
        return smooth(4 * (0.45 - np.maximum(np.abs(u), np.abs(v - 0.2) * 1.3)))
    return np.zeros_like(u)


def smooth(wave: Array) -> Array:
    """Return 0 below and 1 above 0, with a soft edge."""
    return np.clip(wave * 2.5 + 0.5, 0, 1).astype(np.float32)


def paint_hand(
    canvas: Canvas, person: Person, light: Light, at: tuple[float, float], size: float, angle: float
) -> None:
    """Paint a forearm and a hand, open or with bent fingers."""
    hand = Frame(*at, size, size, angle)
    sleeve = capsule(hand.place([(0, 1.2)])[0], hand.place([(0.3, 6.0)])[0], 0.75 * size, size)
    canvas.paint(sleeve, hand.lit(person.cloth, light, 0.1), soft=0.03 * size)
    # All fingers up, a fist, two up, or one that points.
    up = ((1, 1, 1, 1, 1), (0, 0, 0, 0, 0), (1, 1, 0, 0, 0), (1, 0, 0, 0, 1))[
        (0, 0, 0, 1, 2, 3)[person.seed % 6]
    ]
    bases = [(-0.62, -0.55), (-0.22, -0.75), (0.2, -0.75), (0.6, -0.55), (0.75, 0.25)]
    lengths = (1.0, 1.25, 1.3, 1.05, 0.95)
    for finger, (base, length) in enumerate(zip(bases, lengths, strict=True)):
        spread = (-0.28, -0.08, 0.1, 0.3, 0.95)[finger]
        reach = length * (1.0 if up[finger] else 0.35)
        tip = (base[0] + reach * np.sin(spread), base[1] - reach * np.cos(spread))
        start, end = hand.place([base, tip])
        shape = capsule(start, end, 0.23 * size, 0.18 * size)
        canvas.paint(shape, hand.lit(person.skin, light, 0.2), soft=0.02 * size)
        canvas.line(
            capsule(start, end, 0.23 * size, 0.18 * size)[8:12], person.skin * 0.6, 0.04 * size
        )
    palm = rounded([(-0.85, -0.6), (0.0, -0.95), (0.85, -0.6), (0.75, 0.8), (0, 1.3), (-0.75, 0.8)])
    canvas.paint(hand.place(palm), hand.lit(person.skin, light, 0.5), soft=0.03 * size)
    crease = [(-0.5, -0.1), (0.0, 0.05), (0.45, -0.2)]
    canvas.line(hand.place(crease), person.skin * np.float32(0.72), 0.05 * size)
