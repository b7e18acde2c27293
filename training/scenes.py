"""Draw procedural, webcam-like scenes, the only images that nano is trained on.

A scene depends on its random generator alone. The held-out split has other seeds, and places,
hats and clothes that training never sees: `HELD_OUT_PLACES`, a cap, dots.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from training.scenes_camera import Camera, draw_camera, expose, moved
from training.scenes_canvas import Canvas, Image, array, natural, oval, pick
from training.scenes_faces import paint_person
from training.scenes_light import Light, coloured_light, draw_light
from training.scenes_people import Person, Pose, draw_person, draw_pose, paint_hand
from training.scenes_places import card, meadow, scraps, seaside, still_life, street, texture
from training.scenes_rooms import kitchen, library, office, room
from training.scenes_stage import stage
from training.scenes_surfaces import cover_with_details

Place = Callable[[Canvas, np.random.Generator], None]

PLACES: Mapping[Place, float] = {
    room: 6.0,
    library: 1.5,
    office: 2.0,
    stage: 2.5,
    street: 1.0,
    meadow: 1.0,
    still_life: 1.0,
    texture: 1.5,
    scraps: 2.0,
    card: 0.5,
}
HELD_OUT_PLACES: Mapping[Place, float] = {kitchen: 1.0, seaside: 1.0}
# People are less often in these than in rooms.
EMPTY_PLACES: frozenset[Place] = frozenset({still_life, texture, scraps, card, street, meadow})


@dataclass(frozen=True)
class Sitter:
    """Person with a pose, and possibly a raised hand (x, y, size, angle)."""

    person: Person
    pose: Pose
    hand: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Scene:
    """Scene in front of a camera, at rest."""

    backdrop: Canvas
    sitters: tuple[Sitter, ...]
    light: Light
    camera: Camera
    clutter: tuple[tuple[float, float, float], ...]


def scene(rng: np.random.Generator, size: int, *, held_out: bool = False) -> Image:
    """Return an image (size, size, 3) uint8."""
    drawn = draw_scene(rng, size, held_out=held_out)
    image = painted(drawn)
    if rng.random() < 0.25:
        across, down = rng.normal(0, 0.08, 2)
        image = moved(image, across, down, rng.normal(0, 0.12), rng.uniform(1.0, 1.7))
    return expose(drawn.camera, image, rng)


def motion(rng: np.random.Generator, size: int, frames: int, *, held_out: bool = False) -> Image:
    """Return a sequence (frames, size, size, 3) uint8: people move, the camera shakes a little."""
    drawn = draw_scene(rng, size, held_out=held_out)
    speeds = rng.normal(0, 0.004, (len(drawn.sitters) + 1, 2))
    phase, shake = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0, 0.006)
    images = []
    for time in range(frames):
        sitters = tuple(
            advanced(sitter, time, speed)
            for sitter, speed in zip(drawn.sitters, speeds[1:], strict=True)
        )
        sway = shake * np.sin(phase[:3] + time * array([0.5, 0.7, 0.3]))
        across, down = sway[:2] + time * speeds[0] * 0.3
        image = moved(painted(replace(drawn, sitters=sitters)), across, down, sway[2], 1.04)
        images.append(expose(drawn.camera, image, rng))
    return np.stack(images)


def still(
    rng: np.random.Generator, size: int, frames: int, *, noise: float = 0.02, held_out: bool = False
) -> Image:
    """Return a sequence (frames, size, size, 3) in which only the sensor's noise changes."""
    drawn = draw_scene(rng, size, held_out=held_out)
    camera = replace(drawn.camera, noise=noise, quality=0)
    image = painted(drawn)
    return np.stack([expose(camera, image, rng) for _ in range(frames)])


def draw_scene(rng: np.random.Generator, size: int, *, held_out: bool = False) -> Scene:
    """Draw a place, its light, its people and the camera."""
    places = HELD_OUT_PLACES if held_out and rng.random() < 0.6 else PLACES
    place = list(places)[pick(rng, *places.values())]
    backdrop = Canvas(size)
    place(backdrop, rng)
    cover_with_details(backdrop, rng)
    if rng.random() < 0.4:
        backdrop.blur(rng.uniform(0.002, 0.02))
    on_stage = place is stage
    if on_stage or rng.random() < 0.04:
        light = coloured_light(rng, rng.uniform(0.05, 0.35))
    else:
        light = draw_light(rng)
    alone = place in EMPTY_PLACES or on_stage
    count = pick(rng, 4, 5, 1) if alone else pick(rng, 1, 8, 2, 0.5)
    sitters = [draw_sitter(rng, held_out) for _ in range(count)]
    sitters.sort(key=lambda sitter: sitter.pose.radius)
    clutter = rng.uniform((0, 0, 0.01), (1, 1, 0.06), (int(rng.integers(3, 20)), 3))
    spots = tuple(map(tuple, clutter.tolist())) if rng.random() < 0.06 else ()
    return Scene(backdrop, tuple(sitters), light, draw_camera(rng), spots)


def draw_sitter(rng: np.random.Generator, held_out: bool) -> Sitter:
    """Draw a person, one in four with a raised hand."""
    pose = draw_pose(rng)
    hand = None
    if rng.random() < 0.25:
        side = float(rng.choice([-1, 1]))
        size = pose.radius * rng.uniform(0.35, 0.6)
        x = pose.x + side * pose.radius * rng.uniform(0.6, 2.2)
        hand = (
            x,
            pose.y + pose.radius * rng.uniform(-0.3, 1.6),
            size,
            side * rng.uniform(-0.1, 0.6),
        )
    return Sitter(draw_person(rng, held_out=held_out), pose, hand)


def painted(drawn: Scene) -> Image:
    """Return the scene in front of the camera as an image (size, size, 3)."""
    return canvas_of(drawn).pixels


def canvas_of(drawn: Scene) -> Canvas:
    """Return the scene in front of the camera, and where its eyes and mouths are."""
    canvas = drawn.backdrop.copy()
    for sitter in drawn.sitters:
        paint_person(canvas, sitter.person, sitter.pose, drawn.light)
        if sitter.hand is not None:
            x, y, size, angle = sitter.hand
            paint_hand(canvas, sitter.person, drawn.light, (x, y), size, angle)
    for x, y, size in drawn.clutter:
        colour = natural(np.random.default_rng(int(x * 1e6)))
        canvas.fill(oval(x, y, size, 0.7 * size, x * 6, corners=6), colour)
    return canvas


def advanced(sitter: Sitter, time: int, speed: np.ndarray) -> Sitter:
    """Return a person some frames later: moved, nodding, speaking, blinking."""
    pose, beat = sitter.pose, 0.35 + 20 * float(speed[1])
    swing = float(np.sin(beat * time))
    later = replace(
        pose,
        x=pose.x + float(speed[0]) * time + 0.01 * swing,
        y=pose.y + float(speed[1]) * 0.4 * time,
        tilt=pose.tilt + 0.05 * swing,
        turn=pose.turn + 0.12 * float(np.sin(0.6 * beat * time)),
        mouth=max(0.0, pose.mouth + 0.5 * float(np.sin(2.1 * beat * time))),
        eyes=0.12 if time % 23 == 11 else pose.eyes,
    )
    hand = sitter.hand
    if hand is not None:
        hand = (hand[0] + 0.02 * swing, hand[1], hand[2], hand[3] + 0.25 * swing)
    return Sitter(sitter.person, later, hand)
