"""Make the thumbnails of the presets that come with streamcam: ``python docs/thumbnails.py``.

nano renders the drawn person of the source "demo" with each preset that has a prompt, as it would
on air; presets of other models have none. They are kept in configs/thumbnails/, from where the
control page shows them.
"""

from fractions import Fraction
from pathlib import Path

from PIL import Image as Picture

import streamcam
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config, split_layer
from streamcam.settings.presets import find_presets, load_preset, shipped_folder
from streamcam.sources.demo import Demo
from streamcam.types import Frame, Image

WIDTH, HEIGHT = 448, 256
SIZE = (160, 90)
RATE = 25
MOMENT = 8
"""Number of the frame: the person looks straight ahead, and the hand is up."""
FRAMES = 4
"""Frames that go through the model before the one that is kept, as on air."""
QUALITY = 82


def has_prompt(name: str) -> bool:
    """Return whether the preset `name` is a look: what nano can show."""
    _, live = split_layer(load_preset(name))
    return "prompt" in live


def config_of(name: str) -> Config:
    """Return the settings to render the preset `name` with."""
    size = {"model": "nano", "width": WIDTH, "height": HEIGHT, "acceleration": "eager"}
    return build_config([load_preset(name), size])


def scene() -> Image:
    """Return the image that all are made of, ``(256, 448, 3)`` uint8 RGB."""
    return Demo(WIDTH, HEIGHT, Fraction(RATE)).image_at(MOMENT, 0.0)


def render(name: str) -> Image:
    """Return the scene in the look of the preset `name`."""
    stream = streamcam.open_stream(config_of(name))
    outputs: list[Frame] = []
    for index in range(FRAMES):
        outputs += stream(Frame(scene(), index, index / RATE))
    return [*outputs, *stream.flush()][-1].image


def thumbnail(image: Image) -> Picture.Image:
    """Return `image` cut to 16:9, in the size of a thumbnail."""
    height, width = image.shape[:2]
    cut = (height - width * SIZE[1] // SIZE[0]) // 2
    box = (0, cut, width, height - cut)
    return Picture.fromarray(image).resize(SIZE, Picture.Resampling.LANCZOS, box=box)


def main() -> None:
    """Write the thumbnails, and delete those of presets that are gone."""
    folder = shipped_folder() / "thumbnails"
    folder.mkdir(exist_ok=True)
    shipped = {path.stem for path in shipped_folder().glob("*.toml")}
    names = {name for name in find_presets() if name in shipped and has_prompt(name)}
    for old in folder.glob("*.jpg"):
        if old.stem not in names:
            old.unlink()
    for name in sorted(names):
        path = Path(folder, f"{name}.jpg")
        thumbnail(render(name)).save(path, quality=QUALITY, optimize=True)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
