"""Paint heads: skull, hair, eyes, nose, mouth, beard, glasses, hats."""

import numpy as np

from training.scenes_canvas import Array, Canvas, Paint, Points, array, oval, rounded, sampled
from training.scenes_light import Frame, Light
from training.scenes_people import Person, Pose, paint_body

HEAD = [(0, -1.05), (0.62, -0.92), (0.98, -0.4), (0.95, 0.25), (0.66, 0.76), (0.22, 1.04)]
WHITE = array([240, 236, 232])
DARK = array([14, 10, 10])


def paint_person(canvas: Canvas, person: Person, pose: Pose, light: Light) -> None:
    """Paint a person from back to front, from the hair behind to the hat."""
    head = Head(canvas, person, pose, light)
    head.hair_behind()
    paint_body(canvas, person, pose, light)
    head.skull()
    head.wrinkles()
    for side in (-1.0, 1.0):
        head.eye(side)
    head.nose()
    head.beard()
    head.mouth()
    head.hair_before()
    head.glasses()
    head.hat()


class Head:
    """Head that turns: features lie on a ball, in units of half the head's size."""

    def __init__(self, canvas: Canvas, person: Person, pose: Pose, light: Light) -> None:
        self.canvas = canvas
        self.person = person
        self.pose = pose
        self.light = light
        self.radius = pose.radius
        self.frame = Frame(pose.x, pose.y, pose.radius * person.slim, pose.radius, pose.tilt)

    def on_face(self, points: Points) -> Array:
        """Return points of the face on the canvas, moved as the head turns and nods."""
        u, v = np.asarray(points, np.float32).T
        turned = np.sin(np.arcsin(np.clip(u * 0.92, -1, 1)) + self.pose.turn) / 0.92
        return self.frame.place(np.stack([turned, v + 0.35 * self.pose.nod], -1))

    def fill(self, points: Points, colour: Array, soft: float = 0.02, opacity: float = 1.0) -> None:
        """Paint a shape of the face in a colour, lit as the head is."""
        paint = self.frame.lit(colour, self.light)
        self.canvas.paint(self.on_face(points), paint, soft=soft * self.radius, opacity=opacity)

    def strands(self, shine: float = 1.0) -> Paint:
        """Return paint for hair that runs downwards."""
        person = self.person

        def paint(x: Array, y: Array) -> Array:
            u, v = self.frame.local(x, y)
            fine = 0.25 if person.cut != "curly" else 1.6
            streaks = 1 + 0.22 * sampled(person.grain, u * 1.8, v * fine)
            lit = self.light.on(u * 0.8, v * 0.7)
            return (person.hair * shine + 6) * lit * streaks[..., None]

        return paint

    def hair_behind(self) -> None:
        """Paint hair that falls behind the shoulders, or the outline of curls."""
        if self.person.cut == "long":
            length = 1.3 + self.person.brows
            lock = [(0, -1.2), (1.1, -0.9), (1.32, 0.2), (1.2, length), (-1.2, length)]
            shape = rounded([*lock, (-1.32, 0.2), (-1.1, -0.9)])
        elif self.person.cut == "curly":
            shape = oval(0, -0.35, 1.4, 1.05)
        elif self.person.cut == "bun":
            shape = oval(0.1, -1.35, 0.42, 0.36)
        else:
            return
        paint = self.strands(0.6)
        self.canvas.paint(self.frame.place(shape), paint, soft=0.03 * self.radius)

    def skull(self) -> None:
        """Paint ears, skin, cheeks."""
        skin = self.person.skin
        for side in (-1.0, 1.0):
            ear = oval(side * 1.0 - 0.25 * self.pose.turn, 0.02, 0.16, 0.24)
            paint = self.frame.lit(skin * np.float32(0.82), self.light)
            self.canvas.paint(self.frame.place(ear), paint, soft=0.02 * self.radius)
        outline = rounded([*HEAD, *((-u, v) for u, v in reversed(HEAD[1:]))])
        paint = self.frame.lit(skin, self.light)
        self.canvas.paint(self.frame.place(outline), paint, soft=0.018 * self.radius)
        for side in (-1.0, 1.0):
            self.fill(oval(side * 0.5, 0.33, 0.26, 0.2), skin * [1.0, 0.82, 0.8], 0.12, 0.5)

    def wrinkles(self) -> None:
        """Draw the folds beside the mouth and under the eyes, lines of the brow, and freckles."""
        rng = np.random.default_rng(self.person.seed + 1)
        skin = self.person.skin * (self.light.ambient + 0.5 * self.light.main)
        shade, width = skin * np.float32(rng.uniform(0.5, 0.85)), 0.02 * self.radius
        for side in (-1.0, 1.0):
            if rng.random() < 0.7:
                fold = [(side * 0.2, 0.36), (side * 0.36, 0.5), (side * 0.42, 0.66)]
                self.canvas.line(self.on_face(fold), shade, width)
            bag = [(side * 0.24, 0.06), (side * 0.4, 0.13), (side * 0.56, 0.07)]
            if rng.random() < 0.5:
                self.canvas.line(self.on_face(bag), shade, width)
        for v in rng.uniform(-0.62, -0.42, int(rng.integers(0, 3))):
            brow = [(-0.4, v), (0.0, v - 0.03), (0.4, v)]
            self.canvas.line(self.on_face(brow), skin * np.float32(0.8), 0.012 * self.radius)
        for _ in range(int(rng.integers(0, 25)) if rng.random() < 0.4 else 0):
            u, v = rng.uniform((-0.7, -0.4), (0.7, 0.6))
            self.fill(oval(u, v, 0.018, 0.018, corners=6), skin * np.float32(0.7), 0.01, 0.7)

    def eye(self, side: float) -> None:
        """Paint a socket, an eye with its iris cut by the lids, and the brow."""
        skin, open_ = self.person.skin, self.pose.eyes
        self.canvas.mark(self.on_face(oval(side * 0.41, -0.12, 0.3, 0.24)))
        x, y, wide, high = side * 0.41, -0.08, 0.2, 0.105 * open_ + 0.01
        self.fill(oval(x, y - 0.03, 0.28, 0.17), skin * np.float32(0.62), 0.07, 0.55)
        upper = [(x - wide, y + 0.02), (x - 0.08, y - high), (x + 0.08, y - high)]
        almond = rounded(
            [*upper, (x + wide, y), (x + 0.07, y + high * 0.8), (x - 0.07, y + high * 0.8)]
        )
        white = self.on_face(almond)
        self.fill(almond, WHITE, 0.008)
        look = x + 0.07 * self.pose.glance
        for wider, colour in ((0.1, self.person.iris), (0.05, DARK)):
            disc = self.on_face(oval(look, y - 0.01, wider, wider * self.person.slim))
            paint = self.frame.lit(colour, self.light)
            self.canvas.paint(disc, paint, soft=0.006 * self.radius, within=white)
        if open_ > 0.5:
            spark = self.on_face(oval(look + 0.035, y - 0.04, 0.025, 0.02))
            self.canvas.paint(spark, array([250, 250, 250]), within=white)
        lid = self.on_face([*upper, (x + wide, y)])
        self.canvas.line(lid, skin * np.float32(0.25), 0.035 * self.radius)
        if self.person.seed % 2:
            for step in np.linspace(0, 1, 7):
                root = (x - wide + 2 * wide * step, y - high * np.sin(np.pi * step))
                tip = (root[0] + 0.06 * (step - 0.4), root[1] - 0.05)
                self.canvas.line(self.on_face([root, tip]), DARK, 0.006 * self.radius)
        brow = 0.035 * self.person.brows
        arch = [(x - 0.24, y - 0.24), (x, y - 0.32), (x + 0.24, y - 0.25), (x, y - 0.3 + 2 * brow)]
        self.fill(rounded(arch), self.person.hair * np.float32(0.7) + 8, 0.015, 0.9)

    def nose(self) -> None:
        """Paint the nose's shadow, tip and nostrils."""
        skin = self.person.skin
        shade = -1.0 if self.light.main_from[0] > 0 else 1.0
        ridge = [(0.03 * shade, -0.05), (0.22 * shade, 0.36), (0.05 * shade, 0.42)]
        self.fill(ridge, skin * np.float32(0.55), 0.04, 0.55)
        self.fill(oval(0, 0.32, 0.13, 0.1), np.minimum(skin * np.float32(1.12), 255), 0.04, 0.7)
        for side in (-1.0, 1.0):
            self.fill(oval(side * 0.09, 0.41, 0.05, 0.025), skin * np.float32(0.3), 0.012, 0.85)

    def mouth(self) -> None:
        """Paint lips, and teeth and the dark between them if it is open."""
        y, wide = 0.63, 0.34 + 0.06 * self.pose.smile
        self.canvas.mark(self.on_face(oval(0, y + 0.04, wide + 0.08, 0.2)))
        up, gap = 0.05 * self.pose.smile, 0.17 * self.pose.mouth
        upper = [(-wide, y - up), (-0.1, y - 0.07), (0.1, y - 0.07), (wide, y - up)]
        lips = rounded([*upper, (0.15, y + 0.09 + gap), (-0.15, y + 0.09 + gap)])
        self.fill(lips, self.person.lips, 0.015, 0.9)
        edge = [(-0.85 * wide, y - 0.8 * up), (0, y - 0.005), (0.85 * wide, y - 0.8 * up)]
        inner = rounded([*edge, (0.12, y + 0.02 + gap), (-0.12, y + 0.02 + gap)])
        self.fill(inner, array([70, 22, 24]), 0.01)
        if gap > 0.05 or self.pose.smile > 0.7:
            gap = max(gap, 0.06)
            teeth = [
                (-0.6 * wide, y),
                (0.6 * wide, y),
                (0.5 * wide, y + 0.05),
                (-0.5 * wide, y + 0.05),
            ]
            self.fill(teeth, WHITE, 0.012)
            for u in np.linspace(-0.42, 0.42, 7) * wide / 0.5:
                between = self.on_face([(u, y), (u, y + 0.05)])
                self.canvas.line(between, WHITE * np.float32(0.62), 0.008 * self.radius)

    def beard(self) -> None:
        """Paint a beard that leaves the mouth free, since that is painted later."""
        if not self.person.beard:
            return
        half = [(0.14, 1.08), (0.62, 0.82), (0.93, 0.3), (0.97, 0.0), (0.72, 0.42), (0.3, 0.46)]
        outline = rounded([*half, *((-u, v) for u, v in reversed(half))])
        shape = self.on_face(outline)
        soft, opacity = 0.04 * self.radius, self.person.beard
        self.canvas.paint(shape, self.strands(0.85), soft=soft, opacity=opacity)

    def hair_before(self) -> None:
        """Paint the hair on the skull down to a hairline."""
        cut = self.person.cut
        if cut == "bald":
            return
        line = -0.62 + 0.2 * (self.person.brows - 0.9)
        low = {"long": 0.5, "curly": -0.05}.get(cut, -0.2)
        part = 0.55 if cut == "parted" else 0.0
        front = [(0.88, -0.35), (0.62, line), (part, line - 0.1), (-0.62, line), (-0.88, -0.35)]
        crown = [(-1.06, low), (-1.1, -0.7), (-0.7, -1.14), (0, -1.26), (0.7, -1.14), (1.1, -0.7)]
        shape = rounded([*front, *crown, (1.06, low)])
        self.canvas.paint(self.frame.place(shape), self.strands(), soft=0.02 * self.radius)
        if cut != "curly":
            self.locks(line)

    def locks(self, line: float) -> None:
        """Draw single strands, lighter and darker."""
        rng = np.random.default_rng(self.person.seed)
        few = rng.random() < 0.4
        for _ in range(int(rng.integers(3, 16) if few else rng.integers(40, 160))):
            u, shade = rng.uniform(-0.85, 0.85), np.float32(rng.uniform(0.5, 1.6))
            bow = rng.normal(0, 0.06)
            drop = rng.uniform(-0.25, 0.06)
            strand = [(u * 0.6, -1.2 + 0.2 * abs(u)), (u * 0.9 + bow, -0.95), (u, line + drop)]
            lit = self.light.ambient + 0.5 * self.light.main
            self.canvas.line(
                self.frame.place(strand), self.person.hair * shade * lit, 0.012 * self.radius
            )

    def glasses(self) -> None:
        """Draw rims around the eyes and a bridge between them."""
        if not self.person.glasses:
            return
        width = max(0.035 * self.radius, 1 / self.canvas.size)
        for side in (-1.0, 1.0):
            rim = oval(side * 0.42, -0.06, 0.3, 0.24)
            if self.person.glasses == "square":
                x = side * 0.42
                rim = rounded(
                    [(x - 0.33, -0.27), (x + 0.33, -0.27), (x + 0.3, 0.17), (x - 0.3, 0.17)], 2
                )
            self.canvas.line(self.on_face(rim), self.person.glass_colour, width, closed=True)
        bridge = self.on_face([(-0.12, -0.08), (0, -0.12), (0.12, -0.08)])
        self.canvas.line(bridge, self.person.glass_colour, width)

    def hat(self) -> None:
        """Paint headphones, a beanie or a cap."""
        colour, r = self.person.hat_colour, self.radius
        paint = self.frame.lit(colour, self.light)
        if self.person.hat == "headphones":
            turn = np.linspace(np.pi * 1.02, np.pi * 1.98, 16)
            band = np.stack([1.16 * np.cos(turn), 1.32 * np.sin(turn)], -1).astype(np.float32)
            self.canvas.line(self.frame.place(band), colour * np.float32(0.8), 0.1 * r)
            for side in (-1.0, 1.0):
                cup = self.frame.place(oval(side * 1.12, 0.0, 0.2, 0.36))
                self.canvas.paint(cup, paint, soft=0.015 * r)
        elif self.person.hat:
            dome = [(-1.12, -0.45), (-1.05, -1.05), (-0.5, -1.42), (0.5, -1.42), (1.05, -1.05)]
            shape = self.frame.place(rounded([*dome, (1.12, -0.45)], 2))
            self.canvas.paint(shape, paint, soft=0.015 * r)
            rim = [(-1.12, -0.62), (1.12, -0.62), (1.12, -0.4), (-1.12, -0.4)]
            if self.person.hat == "cap":
                rim = [(-0.9, -0.62), (0.9, -0.62), (1.3, -0.36), (0, -0.28), (-1.3, -0.36)]
            self.canvas.paint(
                self.frame.place(rim), self.frame.lit(colour * 0.75, self.light), soft=0.01 * r
            )
