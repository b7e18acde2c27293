"""Make the ten-second clip of the docs: ``python -m training.clip``.

A camera pans over a photograph, then looks at the drawn person of the demo source; the look changes
every second. The left of the frame shows the camera.
"""

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from streamcam.embedded_model import NANO
from streamcam.sources.demo import Demo
from streamcam.types import Image
from training.photographs import HEIGHT, WIDTH, pan
from training.renderer import Renderer

OUT = Path("docs/images/nano/clip.webp")
RATE = 10
"""Frames per second of the clip."""
SECONDS = 10
PROMPTS = (
    *("pencil sketch", "cartoon", "oil painting", "watercolour", "neon edges"),
    *("comic book", "ink drawing", "halftone", "thermal camera", "purple and gold duotone"),
)
"""One for each second."""
CAMERA_SHARE = 0.34
QUALITY = 60


def main() -> None:
    """Render the clip and write it."""
    parser = argparse.ArgumentParser(prog="python -m training.clip", description=__doc__)
    parser.add_argument("--model", default=NANO, help="a folder (default: the embedded one)")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    renderer = Renderer(options.model, (WIDTH, HEIGHT))
    frames = [Pillow.fromarray(frame) for frame in clip(renderer)]
    frames[0].save(
        options.out,
        save_all=True,
        append_images=frames[1:],
        duration=1000 // RATE,
        loop=0,
        quality=QUALITY,
        method=4,
    )
    print(f"{options.out}: {len(frames)} frames, {options.out.stat().st_size / 1e6:.1f} MB")


def clip(renderer: Renderer) -> Iterator[Image]:
    """Yield the frames ``(256, 448, 3)``: the camera at the left, its look at the right."""
    cameras = seen()
    for second, prompt in enumerate(PROMPTS):
        part = cameras[second * RATE : (second + 1) * RATE]
        for camera, output in zip(part, renderer.render(part, prompt), strict=True):
            yield divided(camera, output, prompt)


def seen() -> list[Image]:
    """Return what the camera sees: half of it a photograph, half of it the drawn person."""
    half = SECONDS * RATE // 2
    there = pan(frames=half // 2, step=2)
    photograph = [*there, *reversed(there)]
    demo = Demo(2 * WIDTH, 2 * HEIGHT, Fraction(RATE))
    drawn = [demo.image_at(index, 0.0) for index in range(half)]
    small = [cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for image in drawn]
    return [*photograph[:half], *(np.asarray(image, np.uint8) for image in small)]


def divided(camera: Image, output: Image, prompt: str) -> Image:
    """Return `output` with the left of `camera` next to it, and the prompt as a caption."""
    edge = round(WIDTH * CAMERA_SHARE)
    image = output.copy()
    image[:, :edge] = camera[:, :edge]
    image[:, edge : edge + 2] = 255
    # A shadow of the same weight: bolder letters are wider, too.
    for offset, colour in ((1, (0, 0, 0)), (0, (255, 255, 255))):
        place = (edge + 10 + offset, HEIGHT - 12 + offset)
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(image, prompt, place, font, 0.5, colour, 1, cv2.LINE_AA)
    return image


if __name__ == "__main__":
    main()
