"""Pictures and latents made once, by processes beside the training, and mapped from disk.

A shard of pictures is ``(n, 1 + shown, H, W, 3)`` uint8: scenes, and each in the first of its
looks. A shard of latents is ``(n, 2 + looks, C, h, w)`` float16, scaled: each scene as a camera
sees it, as it is, and in its looks. Shards are whole or absent, and follow from seed and number
alone, so making them can stop at any time and go on.
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
Shown = tuple[str, tuple[str, ...]]
"""A look and its colours."""

TRAINING, HELD_OUT = 10, 11
"""Streams of random numbers that never meet."""


class Recipe(NamedTuple):
    """What the shards are made from."""

    folder: Path
    seed: int
    size: int
    looks: int
    """Of each scene."""
    shown: int = 4
    """Of these looks, kept as pictures too."""
    per_shard: int = 32


def scene(seed: int, index: int, size: int, *, held_out: bool = False) -> Image:
    """Return a scene that depends on its arguments alone, without a camera's noise."""
    rng = np.random.default_rng((seed, HELD_OUT if held_out else TRAINING, index))
    drawn = scenes.draw_scene(rng, size, held_out=held_out)
    quiet = replace(drawn.camera, noise=0.0, quality=0)
    return scenes_camera.expose(quiet, scenes.painted(drawn), rng)


@functools.lru_cache(maxsize=2**16)
def looks_of(recipe: Recipe, index: int) -> tuple[Shown, ...]:
    """Return the looks that scene `index` is shown in, no two alike."""
    rng = np.random.default_rng((recipe.seed, TRAINING, index, 1))
    drawn: dict[Shown, None] = {}
    while len(drawn) < recipe.looks:
        drawn[looks.draw_look(rng)] = None
    return tuple(drawn)


def seen(rng: np.random.Generator, picture: Image) -> Image:
    """Return `picture` as some camera delivers it: noisy, and often compressed."""
    camera = scenes_camera.draw_camera(rng)
    noisy = scenes_camera.noisy(camera, picture.astype(np.float32) / 255, rng)
    return scenes_camera.compressed(noisy, camera.quality)


def make_pictures(recipe: Recipe, shard: int) -> None:
    """Write one shard of pictures."""
    rows = []
    for index in _indices(recipe, shard):
        picture = scene(recipe.seed, index, recipe.size)
        shown = looks_of(recipe, index)[: recipe.shown]
        rows.append([picture, *(looks.render(picture, *look) for look in shown)])
    _write(_shard(recipe, "pictures", shard), np.stack(rows))


def make_latents(recipe: Recipe, shard: int, vae: Path) -> None:
    """Write one shard of latents, through the autoencoder in the folder `vae`."""
    import torch

    torch.set_num_threads(1)
    encode = _encoder(vae)
    rows = []
    pictures = np.load(_shard(recipe, "pictures", shard), mmap_mode="r")
    for index, (picture, *shown) in zip(_indices(recipe, shard), pictures, strict=True):
        rng = np.random.default_rng((recipe.seed, TRAINING, index, 2))
        rest = looks_of(recipe, index)[recipe.shown :]
        others = [looks.render(picture, *look) for look in rest]
        rows.append(encode(np.stack([seen(rng, picture), picture, *shown, *others])))
    _write(_shard(recipe, "latents", shard), np.stack(rows))


def _encoder(folder: Path) -> Callable[[Image], NDArray[np.float16]]:
    import diffusers
    import torch

    from streamcam.diffusion.stages import Encode
    from streamcam.frames.image_tensors import to_tensor

    vae = diffusers.AutoencoderTiny.from_pretrained(folder)
    stage = Encode(vae.to(memory_format=torch.channels_last))

    def encode(pictures: Image) -> NDArray[np.float16]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            latents = stage(to_tensor(list(pictures), torch.device("cpu")), None)
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
    """Make the shards that are not there yet, in `workers` processes, or here if that is 0."""
    missing = [shard for shard in shards if not _shard(recipe, kind, shard).exists()]
    if not workers:
        for shard in missing:
            make(shard)
    elif missing:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_beside) as pool:
            list(pool.map(make, missing))


def _beside() -> None:
    """Leave the processor to whoever else wants it."""
    cv2.setNumThreads(1)
    if hasattr(os, "nice"):
        os.nice(10)


def keep_recipe(recipe: Recipe) -> None:
    """Note what the shards were made from.

    Raises:
        ValueError: the folder holds shards that were made from something else.
    """
    path = recipe.folder / "recipe.json"
    wanted = {k: v for k, v in recipe._asdict().items() if k != "folder"}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != wanted:
            raise ValueError(f"{recipe.folder} was made from {found}, not {wanted}: take another")
    recipe.folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(wanted), encoding="utf-8")


class Shards:
    """All arrays of one kind as one, read from disk as they are needed."""

    def __init__(self, recipe: Recipe, kind: str, count: int) -> None:
        self.recipe = recipe
        self._arrays = [np.load(_shard(recipe, kind, s), mmap_mode="r") for s in range(count)]

    def __len__(self) -> int:
        return len(self._arrays) * self.recipe.per_shard

    def __getitem__(self, index: int) -> NDArray[Any]:
        shard, row = divmod(index, self.recipe.per_shard)
        array: NDArray[Any] = self._arrays[shard][row]
        return array
