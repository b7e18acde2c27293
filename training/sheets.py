"""Contact sheets of scenes and looks for training: `python -m training.sheets OUT.png`."""

import argparse
from pathlib import Path

import cv2
import numpy as np

from training.looks import LOOKS, draw_colours, render
from training.scenes import motion, scene
from training.scenes_canvas import Image

HELD_OUT_SEED = 1_000_000
LABEL_HEIGHT = 18


def main() -> None:
    """Write the sheet of the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.sheets", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--of", choices=("looks", "scenes", "motion"), default="looks")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--rows", type=int, default=5, help="rows of scenes or sequences")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--only", default="", help="looks, separated by commas")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(options.seed)
    only = options.only.split(",") if options.only else list(LOOKS)
    if options.of == "looks":
        sheet = look_sheet(rng, options.columns, options.size, only)
    elif options.of == "scenes":
        sheet = scene_sheet(rng, options.rows, options.columns, options.size)
    else:
        sheet = motion_sheet(rng, options.rows, options.columns, options.size)
    cv2.imwrite(str(options.out), sheet[..., ::-1])


def look_sheet(rng: np.random.Generator, columns: int, size: int, looks: list[str]) -> Image:
    """Return held-out scenes, and below them a row for every look: without and with colours."""
    scenes = [scene(rng, size, held_out=True) for _ in range(columns)]
    rows = []
    for look in looks:
        drawn = [
            () if 0 in LOOKS[look].colours else draw_colours(rng, look) for _ in range(columns)
        ]
        if max(LOOKS[look].colours):
            half = columns // 2
            drawn[half:] = [draw_colours(rng, look) for _ in drawn[half:]]
        texts = [" ".join((look, *colours)) for colours in drawn]
        images = [render(image, look, c) for image, c in zip(scenes, drawn, strict=True)]
        rows.append(labelled(images, texts))
    return np.concatenate(rows)


def scene_sheet(rng: np.random.Generator, rows: int, columns: int, size: int) -> Image:
    """Return scenes as training sees them, the last row held out."""
    lines = [
        np.concatenate([scene(rng, size, held_out=row == rows - 1) for _ in range(columns)], 1)
        for row in range(rows)
    ]
    return np.concatenate(lines)


def motion_sheet(rng: np.random.Generator, rows: int, columns: int, size: int) -> Image:
    """Return a sequence per row, with every third frame."""
    lines = [np.concatenate(motion(rng, size, 3 * columns)[::3], 1) for _ in range(rows)]
    return np.concatenate(lines)


def labelled(images: list[Image], texts: list[str]) -> Image:
    """Return images side by side, each with a text above it."""
    return np.concatenate([captioned(*pair) for pair in zip(images, texts, strict=True)], 1)


def captioned(image: Image, text: str) -> Image:
    """Return an image with a text above it."""
    head = np.zeros((LABEL_HEIGHT, image.shape[1], 3), np.uint8)
    cv2.putText(head, text, (4, 13), 0, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([head, image])


if __name__ == "__main__":
    main()
