"""Contact sheets of a trained model's outputs: looks, steps, guidance and blends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from streamcam.types import Image
from training import looks
from training.renderer import Renderer

if TYPE_CHECKING:
    from training.evaluate import Case

Captioned = tuple[str, Image]
CAPTION = 18
STEPS = ((49,), (45,), (40,), (32,), (24,), (32, 45), (36, 40, 44, 47))
SCALES = (0.5, 1.0, 1.5, 2.0, 3.0)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SHEET_LOOKS = ("neon", "pencil", "cartoon", "halftone", "pixel art", "thermal")
"""Looks that show most of the errors a model can make."""


def captioned(text: str, image: Image) -> Image:
    """Return `image` with a caption above it."""
    caption = np.full((CAPTION, image.shape[1], 3), 24, np.uint8)
    font, white = cv2.FONT_HERSHEY_SIMPLEX, (235, 235, 235)
    cv2.putText(caption, text, (4, CAPTION - 5), font, 0.42, white, 1, cv2.LINE_AA)
    return np.vstack([caption, image])


def grid(rows: Sequence[Sequence[Captioned]]) -> Image:
    """Return captioned images of one size as a grid of rows."""
    return np.vstack([np.hstack([captioned(*cell) for cell in row]) for row in rows])


def save(path: Path, sheet: Image) -> None:
    """Write a sheet as JPEG."""
    _, packed = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    path.write_bytes(packed.tobytes())


def write_sheets(
    renderer: Renderer, cases: Sequence[Case], images: Sequence[Image], out: Path
) -> None:
    """Write all sheets to `out`."""
    sheet_cases = [
        case for case in cases if case.coloured_look[0] in SHEET_LOOKS and not case.coloured_look[1]
    ]
    save(out / "looks.jpg", grid(looks_sheet(renderer, cases, images[:3])))
    save(out / "steps.jpg", grid(steps_sheet(renderer, sheet_cases, images[0])))
    save(out / "guidance.jpg", grid(guidance_sheet(renderer, sheet_cases, images[0])))
    save(out / "blends.jpg", grid(blends_sheet(renderer, sheet_cases, images[0])))


def looks_sheet(
    renderer: Renderer, cases: Sequence[Case], images: Sequence[Image]
) -> list[list[Captioned]]:
    """Return a row per look: for each scene the target, then the model's output."""
    rows = [[pair for p in images for pair in (("source", p), ("", np.zeros_like(p)))]]
    for case in cases:
        outputs = renderer.render(images, case.prompt)
        targets = [("target", looks.render(image, *case.coloured_look)) for image in images]
        pairs = zip(targets, outputs, strict=True)
        rows.append([cell for target, output in pairs for cell in (target, (case.prompt, output))])
    return rows


def steps_sheet(renderer: Renderer, cases: Sequence[Case], image: Image) -> list[list[Captioned]]:
    """Return a row per look, from little strength to much, then with several steps."""
    return [
        [
            ("target", looks.render(image, *case.coloured_look)),
            *(
                (f"{case.prompt} {list(steps)}", renderer.render([image], case.prompt, steps)[0])
                for steps in STEPS
            ),
        ]
        for case in cases
    ]


def guidance_sheet(
    renderer: Renderer, cases: Sequence[Case], image: Image
) -> list[list[Captioned]]:
    """Return two rows per look: residual and full guidance, from weak to strong."""
    return [
        [
            (
                f"{case.prompt} {kind} {scale}",
                renderer.render([image], case.prompt, cfg_type=kind, guidance_scale=scale)[0],
            )
            for scale in SCALES
        ]
        for case in cases
        for kind in ("self", "full")
    ]


def blends_sheet(renderer: Renderer, cases: Sequence[Case], image: Image) -> list[list[Captioned]]:
    """Return a row per look that blends it into the next one."""
    pairs = zip(cases, [*cases[1:], *cases[:1]], strict=True)
    return [
        [
            (
                f"{a.prompt} {1 - share:g}, {b.prompt} {share:g}",
                renderer.render([image], [[a.prompt, 1 - share], [b.prompt, share]])[0],
            )
            for share in SHARES
        ]
        for a, b in pairs
    ]
