"""Render images and latents once, in worker processes, and map them from disk.

A shard of images is ``(n, 1 + shown, H, W, 3)`` uint8: scenes, and each in the first of its
looks. A shard of latents is ``(n, 2 + looks, C, h, w)`` float16, scaled: each scene as a camera
delivers it, without camera noise, and in its looks. Shards are written atomically and depend on
seed and number alone, so that making them can stop at any time and continue.
"""

import functools
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from training import looks, scenes, scenes_camera

Image = NDArray[np.uint8]
ColouredLook = tuple[str, tuple[str, ...]]
"""Name of a look, and names of its colours."""

TRAINING, HELD_OUT = 10, 11
"""Seeds of independent random streams."""


class Recipe(NamedTuple):
    """Settings that determine the content of the shards."""

    folder: Path
    seed: int
    size: int
    looks: int
    """Number of looks per scene."""
    shown: int = 4
    """Number of these looks that are stored as images too."""
    per_shard: int = 32


def scene(seed: int, index: int, size: int, *, held_out: bool = False) -> Image:
    """Return a scene that depends on the arguments alone, without camera noise."""
    rng = np.random.default_rng((seed, HELD_OUT if held_out else TRAINING, index))
    drawn = scenes.draw_scene(rng, size, held_out=held_out)
    quiet = replace(drawn.camera, noise=0.0, quality=0)
    return scenes_camera.expose(quiet, scenes.painted(drawn), rng)


@functools.lru_cache(maxsize=2**16)
def looks_of(recipe: Recipe, index: int) -> tuple[ColouredLook, ...]:
    """Return the looks of scene `index`, all different."""
    rng = np.random.default_rng((recipe.seed, TRAINING, index, 1))
    drawn: dict[ColouredLook, None] = {}
    while len(drawn) < recipe.looks:
        drawn[looks.draw_look(rng)] = None
    return tuple(drawn)


def as_delivered(rng: np.random.Generator, image: Image) -> Image:
    """Return `image` as a random camera delivers it: noisy, and often compressed."""
    camera = scenes_camera.draw_camera(rng)
    noisy = scenes_camera.noisy(camera, image.astype(np.float32) / 255, rng)
    return scenes_camera.compressed(noisy, camera.quality)


def make_images(recipe: Recipe, shard: int) -> None:
    """Write one shard of images."""
    rows = []
    for index in _indices(recipe, shard):
        image = scene(recipe.seed, index, recipe.size)
        stored = looks_of(recipe, index)[: recipe.shown]
        rows.append([image, *(looks.render(image, *look) for look in stored)])
    _write(_shard(recipe, "images", shard), np.stack(rows))


def make_latents(recipe: Recipe, shard: int, vae: Path) -> None:
    """Write one shard of latents, encoded by the autoencoder in the folder `vae`."""
    import torch

    torch.set_num_threads(1)
    encode = _encoder(vae)
    rows = []
    images = np.load(_shard(recipe, "images", shard), mmap_mode="r")
    for index, (image, *stored) in zip(_indices(recipe, shard), images, strict=True):
        rng = np.random.default_rng((recipe.seed, TRAINING, index, 2))
        rest = looks_of(recipe, index)[recipe.shown :]
        computed = [looks.render(image, *look) for look in rest]
        rows.append(encode(np.stack([as_delivered(rng, image), image, *stored, *computed])))
    _write(_shard(recipe, "latents", shard), np.stack(rows))


def _encoder(folder: Path) -> Callable[[Image], NDArray[np.float16]]:
    import diffusers
    import torch

    from streamcam.diffusion.stages import Encode
    from streamcam.frames.image_tensors import to_tensor

    vae = diffusers.AutoencoderTiny.from_pretrained(folder)
    stage = Encode(vae.to(memory_format=torch.channels_last))

    def encode(images: Image) -> NDArray[np.float16]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            latents = stage(to_tensor(list(images), torch.device("cpu")), None)
        result: NDArray[np.float16] = latents.half().numpy()
        return result

    return encode


def _indices(recipe: Recipe, shard: int) -> range:
    return range(shard * recipe.per_shard, (shard + 1) * recipe.per_shard)


def _shard(recipe: Recipe, kind: str, shard: int) -> Path:
    return recipe.folder / kind / f"{shard:05}.npy"


def _write(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, array)
    partial.replace(path)


def fill(
    recipe: Recipe, kind: str, make: Callable[[int], None], shards: Iterable[int], workers: int
) -> None:
    """Make the missing shards in `workers` processes, or in this process if that is 0."""
    missing = [shard for shard in shards if not _shard(recipe, kind, shard).exists()]
    if not workers:
        for shard in missing:
            make(shard)
    elif missing:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=lower_priority) as pool:
            list(pool.map(make, missing))


def lower_priority() -> None:
    """Lower this process's priority, so that other programs get the CPU first."""
    cv2.setNumThreads(1)
    if hasattr(os, "nice"):
        os.nice(10)


def check_recipe(recipe: Recipe) -> None:
    """Save the recipe next to the shards, or compare it with the saved one.

    Raises:
        ValueError: the folder contains shards of another recipe.
    """
    path = recipe.folder / "recipe.json"
    settings = {k: v for k, v in recipe._asdict().items() if k != "folder"}
    if path.exists():
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved != settings:
            raise ValueError(
                f"{recipe.folder} was made from {saved}, not {settings}: choose another folder"
            )
    recipe.folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings), encoding="utf-8")


class Shards:
    """Sequence of all rows of one kind of shard, read from disk when they are used."""

    def __init__(self, recipe: Recipe, kind: str, count: int) -> None:
        self.recipe = recipe
        self._arrays = [np.load(_shard(recipe, kind, s), mmap_mode="r") for s in range(count)]

    def __len__(self) -> int:
        return len(self._arrays) * self.recipe.per_shard

    def __getitem__(self, index: int) -> NDArray[Any]:
        shard, row = divmod(index, self.recipe.per_shard)
        array: NDArray[Any] = self._arrays[shard][row]
        return array
