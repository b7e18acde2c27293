"""Light the objects of a scene, in local frames of coordinates for shapes and shading."""

from dataclasses import dataclass

import numpy as np

from training.scenes_canvas import Array, Paint, Points, array, pick, vivid


@dataclass(frozen=True)
class Light:
    """Main and edge light, each a direction (3,) and a colour (3,) of about 1."""

    ambient: Array
    main: Array
    main_from: Array
    edge: Array
    edge_from: Array

    def on(self, u: Array, v: Array, bulge: float = 0.8) -> Array:
        """Return factors (h, w, 3) on a body that fills -1..1 and bulges towards the viewer."""
        depth = np.sqrt(np.clip(1 - bulge * (u * u + v * v), 0.02, 1))
        flat = np.sqrt(bulge)
        normal = np.stack([u * flat, v * flat, depth], -1)
        main = np.clip(normal @ self.main_from, 0, 1)[..., None]
        edge = np.clip(normal @ self.edge_from, 0, 1)[..., None] ** 2
        return array(self.ambient + main * self.main + edge * self.edge)


@dataclass(frozen=True)
class Frame:
    """Local coordinates: `u, v` in -1..1 become shares of the canvas."""

    x: float
    y: float
    rx: float
    ry: float
    angle: float = 0.0

    def place(self, points: Points) -> Array:
        """Return local points (n, 2) on the canvas."""
        local = np.asarray(points, np.float32) * array([self.rx, self.ry])
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turned = local @ array([[cos, sin], [-sin, cos]])
        return turned + array([self.x, self.y])

    def local(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return local coordinates of points on the canvas."""
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        across, down = x - np.float32(self.x), y - np.float32(self.y)
        u = (cos * across + sin * down) / np.float32(self.rx)
        return u, (cos * down - sin * across) / np.float32(self.ry)

    def lit(self, colour: Array, light: Light, bulge: float = 0.8) -> Paint:
        """Return paint of one colour on a body that fills the frame."""

        def paint(x: Array, y: Array) -> Array:
            u, v = self.local(x, y)
            return colour * light.on(u, v, bulge)

        return paint


def direction(x: float, y: float, z: float) -> Array:
    """Return a unit vector towards the lamp; axes point right, down and to the viewer."""
    vector = array([x, y, z])
    return array(vector / np.linalg.norm(vector))


def draw_light(rng: np.random.Generator) -> Light:
    """Draw the light of a room: from the front, a side, behind, or in colours of a screen."""
    kind = pick(rng, 5, 3, 0.7, 0.8)
    side = float(rng.choice([-1, 1]))
    white = 1 + rng.normal(0, 0.05, 3).astype(np.float32)
    nothing = np.zeros(3, np.float32)
    away = direction(-side, -0.4, 0.15)
    if kind == 0:
        front = direction(side * rng.uniform(0, 0.5), -rng.uniform(0.1, 0.7), 1)
        return Light(0.4 * white, 0.8 * white, front, 0.3 * rng.random() * white, away)
    if kind == 1:
        across = direction(side, -rng.uniform(0, 0.6), rng.uniform(0.1, 0.6))
        strength = rng.uniform(0.9, 1.3)
        return Light(rng.uniform(0.15, 0.5) * white, strength * white, across, nothing, away)
    if kind == 2:
        return Light(0.3 * white, 0.15 * white, direction(0, -1, 0.4), 0.9 * white, away)
    return coloured_light(rng, ambient=0.4)


def coloured_light(rng: np.random.Generator, ambient: float = 0.08) -> Light:
    """Draw light of screens or of a stage: two colours from two sides."""
    side = float(rng.choice([-1, 1]))
    first, second = (vivid(rng) / 255 * rng.uniform(0.6, 1.3) for _ in range(2))
    from_first = direction(side, rng.uniform(-1, 0.3), rng.uniform(0.2, 0.8))
    from_second = direction(-side, rng.uniform(-1, 0.3), rng.uniform(0.0, 0.3))
    dim = np.full(3, ambient, np.float32)
    return Light(dim, first.astype(np.float32), from_first, second.astype(np.float32), from_second)
