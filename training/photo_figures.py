"""Measure models on photographs, and render them: ``python -m training.photo_figures MODEL...``.

Writes a table and a sheet for each model, from the same photographs with the same measures.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streamcam.embedded_model import NANO
from streamcam.types import Image
from training import contact_sheets, looks
from training.measures import edge_correlation, flicker, psnr
from training.photographs import FACE, HEIGHT, WIDTH, pan, photographs
from training.renderer import Renderer

STEP = 2
SHEET_LOOKS = ("pencil", "ink", "neon", "cartoon", "comic", "oil", "watercolour", "pixel art")
COLOURED = {"tint": ("blue",)}


def main() -> None:
    """Write the table and the sheets of the models of the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.photo_figures", description=__doc__)
    parser.add_argument("models", nargs="*", default=[NANO], help="folders, or the embedded one")
    parser.add_argument("--out", type=Path, default=Path("out/photographs"))
    parser.add_argument("--looks", default="", help="looks to measure, separated by commas")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    names = options.looks.split(",") if options.looks else list(looks.LOOKS)
    lines = [HEADER]
    for number, model in enumerate(options.models):
        renderer = Renderer(model, (WIDTH, HEIGHT))
        lines += figures(renderer, f"{number}", names)
        sheet = contact_sheets.grid(rows(renderer, [n for n in names if n in SHEET_LOOKS]))
        contact_sheets.save(options.out / f"photographs-{number}.jpg", sheet)
    text = "\n".join(lines) + "\n"
    (options.out / "photographs.md").write_text(text, encoding="utf-8")
    print(text)


HEADER = """\
| model | look | dB | dB of the face | edges | pixels off when panning | on air |
|--|--|--:|--:|--:|--:|--:|"""


def prompt_of(look: str) -> str:
    """Return a prompt for a look in the colour of the sheets."""
    return "" if look == looks.PLAIN else " ".join((*COLOURED.get(look, ()), look))


def figures(renderer: Renderer, model: str, names: Sequence[str]) -> list[str]:
    """Return one line of the table for each look, then their means."""
    images, moving = photographs(), pan(step=STEP)
    lines, all_figures = [], []
    for name in names:
        targets = {n: looks.render(i, name, COLOURED.get(name, ())) for n, i in images.items()}
        outputs = dict(
            zip(images, renderer.render(list(images.values()), prompt_of(name)), strict=True)
        )
        row = [
            float(np.mean([psnr(outputs[n], targets[n]) for n in images])),
            psnr(outputs["face"][FACE], targets["face"][FACE]),
            float(np.mean([edge_correlation(outputs[n], targets[n]) for n in images])),
            100 * flicker(renderer.render(moving, prompt_of(name)), STEP),
            100
            * flicker(
                renderer.render(moving, prompt_of(name), output_blend=renderer.output_blend), STEP
            ),
        ]
        all_figures.append(row)
        lines.append(f"| {model} | {name} | {cells(row)} |")
    return [*lines, f"| {model} | **mean** | {cells(np.mean(all_figures, 0))} |"]


def cells(row: Sequence[float]) -> str:
    """Return the figures of a line of the table."""
    return " | ".join(
        (f"{row[0]:.1f}", f"{row[1]:.1f}", f"{row[2]:.2f}", f"{row[3]:.1f} %", f"{row[4]:.1f} %")
    )


def rows(renderer: Renderer, names: Sequence[str]) -> list[list[tuple[str, Image]]]:
    """Return the rows of a sheet: the photographs, then each look of them."""
    images = photographs()
    chosen = [images[name] for name in ("face", "cat", "coffee")]
    sheet = [[("camera", image) for image in chosen]]
    sheet += [[(name, out) for out in renderer.render(chosen, prompt_of(name))] for name in names]
    return sheet


if __name__ == "__main__":
    main()
