"""Make the sheet, the clip and the figures of steadied outputs: ``python docs/steadiness.py``.

nano draws what a noisy camera that moves sees. In each row of the sheet an output, and where the
outputs flicker: their mean difference from the ones before moved with the scene, eight times as
bright as it is. The clip and the figures show photographs that nano was not trained on; these come
with scikit-image.
"""

from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from streamcam.bench.steadiness import SETTLES, run, with_settings
from streamcam.bench.steadiness_scene import (
    MARGIN,
    backward_flow,
    filmed,
    handheld_scene,
    moved,
    sharpness,
    warp_error,
)
from streamcam.diffusion.image_model import ImageModel
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config, with_model
from streamcam.types import Image

IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT, FRAMES, BRIGHTER, QUALITY = 448, 256, 14, 8, 85
CLIP_FRAMES, CLIP_MS, CLIP_QUALITY, CLIP_WIDTH = 48, 83, 60, 300
CLIP_PROMPT, PROMPTS = "watercolor", ("watercolor", "pencil sketch", "comic book")
WAYS: dict[str, dict[str, Any]] = {
    "off": {},
    "temporal_memory=features": {"temporal_memory": "features"},
    "output_blend=0.8": {"output_blend": 0.8},
}


def flicker(scene: list[Image], outputs: list[Image]) -> Image:
    """Return the mean warp error of each pixel, brightened, ``(H, W, 3)``."""
    errors = []
    for index in range(SETTLES + 1, len(scene)):
        flow, valid = backward_flow(scene[index - 1], scene[index])
        before = moved(outputs[index - 1].astype(np.float32), flow)
        errors.append(np.abs(outputs[index] - before).mean(-1) * valid)
    grey = (np.mean(errors, axis=0) * BRIGHTER).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def photograph(name: str, frames: int) -> list[Image]:
    """Return what the camera films of a photograph of scikit-image."""
    from skimage import data

    from training.photographs import framed

    view = framed(getattr(data, name)(), round(WIDTH * MARGIN), round(HEIGHT * MARGIN))
    return list(filmed(repeat(view, frames), WIDTH, HEIGHT))


def steadied(
    config: Config, way: str, scene: list[Image], models: dict[str, ImageModel]
) -> list[Image]:
    """Return the outputs for `scene`, steadied in a way of `WAYS`."""
    return run(with_settings(config, WAYS[way]), scene, models)[0]


def captioned(image: Image, text: str) -> Image:
    """Return the middle of `image` with a caption."""
    left = (image.shape[1] - CLIP_WIDTH) // 2
    part = Picture.fromarray(image[:, left : left + CLIP_WIDTH])
    place, font = (8, HEIGHT - 24), ImageFont.load_default(15)
    ImageDraw.Draw(part).text(place, text, "white", font, stroke_width=2, stroke_fill="black")
    return np.asarray(part)


def main() -> None:
    """Write the sheet and the clip, and print the figures."""
    nano = {"model": "nano", "acceleration": "eager", "dtype": "float32", "device": "cpu"}
    config = with_model(build_config([nano | {"width": WIDTH, "height": HEIGHT}]), "nano")
    models: dict[str, ImageModel] = {}
    of_prompt = {name: with_settings(config, {"prompt": name}) for name in PROMPTS}

    scene = handheld_scene(WIDTH, HEIGHT, FRAMES)
    rows = []
    for way in WAYS:
        outputs = steadied(of_prompt[CLIP_PROMPT], way, scene, models)
        rows.append(np.hstack([scene[-1], outputs[-1], flicker(scene, outputs)]))
    Picture.fromarray(np.vstack(rows)).save(IMAGES / "steady.jpg", quality=QUALITY)

    scene = photograph("chelsea", CLIP_FRAMES)
    halves = []
    for way in ("off", "temporal_memory=features"):
        outputs = steadied(of_prompt[CLIP_PROMPT], way, scene, models)
        halves.append([captioned(image, way) for image in outputs])
    clip = [Picture.fromarray(np.hstack(pair)) for pair in zip(*halves, strict=True)]
    clip[0].save(
        IMAGES / "steady.webp",
        save_all=True,
        append_images=clip[1:],
        duration=CLIP_MS,
        loop=0,
        quality=CLIP_QUALITY,
        method=4,
    )

    for prompt in PROMPTS:
        for name in ("astronaut", "chelsea"):
            scene, first = photograph(name, SETTLES + FRAMES), (0.0, 0.0)
            for way in WAYS:
                outputs = steadied(of_prompt[prompt], way, scene, models)
                error = warp_error(scene[SETTLES:], outputs[SETTLES:])
                energy = sharpness(outputs[SETTLES:])
                first = (error, energy) if way == "off" else first
                ratios = f"{error / first[0]:.2f} | {energy / first[1] - 1:+.1%}"
                print(f"| {prompt} | {name} | {way} | {error:.2f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
