"""Make the sheet of steadied outputs: ``python docs/steadiness.py``.

nano draws a noisy camera that moves; in each row an output, and where the outputs flicker: their
mean difference from the ones before moved with the scene, eight times as bright as it is.
"""

from pathlib import Path

import numpy as np
from PIL import Image as Picture

from streamcam.bench.harness import changed
from streamcam.bench.steadiness import SETTLES, run
from streamcam.bench.steadiness_scene import backward_flow, handheld_scene, moved
from streamcam.diffusion.image_model import ImageModel
from streamcam.settings.config_layers import build_config, with_model
from streamcam.types import Image

SHEET = Path(__file__).parent / "images/steady.jpg"
FRAMES, BRIGHTER, QUALITY = 14, 8, 85


def flicker(scene: list[Image], outputs: list[Image]) -> Image:
    """Return the mean warp error of each pixel, brightened, ``(H, W, 3)``."""
    errors = []
    for index in range(SETTLES + 1, len(scene)):
        flow, valid = backward_flow(scene[index - 1], scene[index])
        before = moved(outputs[index - 1].astype(np.float32), flow)
        errors.append(np.abs(outputs[index] - before).mean(-1) * valid)
    grey = (np.mean(errors, axis=0) * BRIGHTER).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def main() -> None:
    """Write the sheet."""
    nano = {"model": "nano", "acceleration": "eager", "dtype": "float32", "device": "cpu"}
    config = with_model(build_config([nano | {"prompt": "watercolor"}]), "nano")
    scene = handheld_scene(config.width, config.height, FRAMES)
    models: dict[str, ImageModel] = {}
    rows = []
    for blend in (0.0, 0.8):
        live = config.live.changed({"output_blend": blend})
        outputs, _ = run(changed(config, live=live), scene, models)
        rows.append(np.hstack([scene[-1], outputs[-1], flicker(scene, outputs)]))
    Picture.fromarray(np.vstack(rows)).save(SHEET, quality=QUALITY)


if __name__ == "__main__":
    main()
