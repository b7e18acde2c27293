"""Pictures for the docs of what a model can do: ``python -m training.gallery``."""

import argparse
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from streamcam.embedded import NANO
from streamcam.sources.demo import Demo
from streamcam.types import Image
from training import contact_sheets
from training.contact_sheets import Labelled
from training.evaluate import Case, cases, held_out_scenes
from training.renderer import Renderer

SEED, SIZE = 0, 256
SCENES = 2
OUT = Path("docs/images/nano")
SHOWN = (
    "pencil sketch",
    "blue neon edges on black",
    "cartoon",
    "halftone",
    "thermal camera",
    "oil painting",
    "pixel art",
)
"""Of the README's picture, after the scene itself."""


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(prog="python -m training.gallery", description=__doc__)
    parser.add_argument("--model", default=NANO, help="a folder (default: the embedded one)")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(options.model, SIZE)
    pictures = held_out_scenes(SEED, SCENES, SIZE)
    plain = [case for case in cases(SEED) if not case.shown[1]]
    contact_sheets.write_sheets(renderer, [*plain, *coloured()], pictures, options.out)
    contact_sheets.save(options.out / "readme.jpg", contact_sheets.grid(readme(renderer, sitter())))


def coloured() -> list[Case]:
    """Return some looks in colours."""
    asked = {
        ("neon", ("blue", "black")): "blue neon edges on black",
        ("neon", ("red",)): "red neon",
        ("duotone", ("purple", "gold")): "purple and gold duotone",
        ("tint", ("teal",)): "teal tint",
        ("halftone", ("magenta",)): "magenta halftone",
        ("pencil", ("white", "black")): "white pencil on black paper",
    }
    return [Case(shown, prompt, prompt) for shown, prompt in asked.items()]


def sitter() -> Image:
    """Return the drawn person that stands in for a camera."""
    large = Demo(2 * SIZE, 2 * SIZE, Fraction(30)).image_at(5, 0.0)
    return np.asarray(cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


def readme(renderer: Renderer, picture: Image) -> list[list[Labelled]]:
    """Return a scene and what becomes of it, in two rows."""
    made = [(prompt, renderer.render([picture], prompt)[0]) for prompt in SHOWN]
    cells = [("camera", picture), *made]
    half = len(cells) // 2
    return [cells[:half], cells[half:]]


if __name__ == "__main__":
    main()
