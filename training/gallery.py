"""Render the images of nano in the docs: ``python -m training.gallery``."""

import argparse
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from streamcam.embedded_model import NANO
from streamcam.sources.demo import Demo
from streamcam.types import Image
from training import contact_sheets
from training.contact_sheets import Captioned
from training.evaluate import Case, cases, held_out_scenes
from training.renderer import Renderer

SEED, SIZE = 0, 256
SCENES = 2
OUT = Path("docs/images/nano")
README_PROMPTS = (
    "pencil sketch",
    "blue neon edges on black",
    "cartoon",
    "halftone",
    "thermal camera",
    "oil painting",
    "pixel art",
)
"""Prompts in the README's image, after the scene itself."""


def main() -> None:
    """Write all images."""
    parser = argparse.ArgumentParser(prog="python -m training.gallery", description=__doc__)
    parser.add_argument("--model", default=NANO, help="a folder (default: the embedded one)")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(options.model, SIZE)
    images = held_out_scenes(SEED, SCENES, SIZE)
    plain = [case for case in cases(SEED) if not case.coloured_look[1]]
    contact_sheets.write_sheets(renderer, [*plain, *coloured()], images, options.out)
    contact_sheets.save(
        options.out / "readme.jpg", contact_sheets.grid(readme_sheet(renderer, demo_image()))
    )


def coloured() -> list[Case]:
    """Return some looks in colours."""
    prompts = {
        ("neon", ("blue", "black")): "blue neon edges on black",
        ("neon", ("red",)): "red neon",
        ("duotone", ("purple", "gold")): "purple and gold duotone",
        ("tint", ("teal",)): "teal tint",
        ("halftone", ("magenta",)): "magenta halftone",
        ("pencil", ("white", "black")): "white pencil on black paper",
    }
    return [Case(coloured_look, prompt, prompt) for coloured_look, prompt in prompts.items()]


def demo_image() -> Image:
    """Return an image of the drawn person that replaces a camera."""
    large = Demo(2 * SIZE, 2 * SIZE, Fraction(30)).image_at(5, 0.0)
    return np.asarray(cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


def readme_sheet(renderer: Renderer, image: Image) -> list[list[Captioned]]:
    """Return a scene and the model's outputs for it, in two rows."""
    outputs = [(prompt, renderer.render([image], prompt)[0]) for prompt in README_PROMPTS]
    cells = [("camera", image), *outputs]
    half = len(cells) // 2
    return [cells[:half], cells[half:]]


if __name__ == "__main__":
    main()
