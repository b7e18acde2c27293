"""Plan the stages of a training: their times, sizes and device."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.dataset import Recipe
from training.learner import Stage

SHARES = {"autoencoder": 0.1, "text": 0.01, "unet": 0.2, "together": 0.2, "whole": 0.3}
"""Shares of the time; the rest is for scenes, latents and the evaluation."""
WIDENED = {"autoencoder": 0.15, "whole": 0.75}
"""Shares of the time of a training that starts from an earlier edition."""
SCENES_PER_HOUR = 1500
FRAMES_PER_HOUR = 1000


@dataclass(frozen=True)
class TrainingPlan:
    """Settings of one training."""

    out: Path
    hours: float
    scenes: int
    looks: int
    """Number of looks per scene."""
    shown: int
    """Number of these looks that are stored as images too."""
    batch: int
    unet_lr: float
    whole_lr: float
    frames: int
    """Number of frames of a camera's shape."""
    workers: int
    device: str
    seed: int = 0
    size: int = 256
    crop: int = 128
    start: Path | None = None
    """Folder of an earlier edition to start from, instead of from zero."""
    steps: int | None = None
    """Limit for every stage, for short tests."""
    per_shard: int = 32
    save_every_s: float = 120.0

    @property
    def torch_device(self) -> torch.device:
        """Return the device of the training."""
        return torch.device(self.device)

    @property
    def shards(self) -> int:
        """Return the number of shards that the scenes fill."""
        return math.ceil(self.scenes / self.per_shard)

    @property
    def recipe(self) -> Recipe:
        """Return the recipe of the shards."""
        folder = self.out / "cache"
        return Recipe(folder, self.seed, self.size, self.looks, self.shown, self.per_shard)

    def stage(self, name: str, *, lr: float) -> Stage:
        """Return the settings of the stage `name`."""
        seconds = (WIDENED if self.start else SHARES)[name] * self.hours * 3600
        seed = self.seed * 10 + list(SHARES).index(name)
        folder = self.out / "checkpoints"
        return Stage(name, folder, lr, seconds, self.steps, seed, self.save_every_s)


def plan_for(out: Path, hours: float, **overrides: Any) -> TrainingPlan:
    """Return the plan of a training of about that many hours on this machine."""
    gpu = torch.cuda.is_available()
    defaults: dict[str, Any] = {
        "scenes": max(32, round(SCENES_PER_HOUR * hours)),
        "looks": 12,
        "shown": 4,
        "batch": 128 if gpu else 32,
        "unet_lr": 2e-3 if gpu else 1.5e-3,
        "whole_lr": 5e-4 if gpu else 2e-4,
        "frames": max(32, round(FRAMES_PER_HOUR * max(hours, 1))),
        "workers": os.cpu_count() or 1,
        "device": "cuda" if gpu else "cpu",
    }
    return TrainingPlan(out, hours, **(defaults | overrides))


def smoke_plan(out: Path, start: Path | None = None) -> TrainingPlan:
    """Return a plan that runs every stage in less than a minute."""
    tiny = {
        "frames": 16,
        "scenes": 8,
        "looks": 3,
        "shown": 2,
        "per_shard": 4,
        "size": 128,
        "crop": 64,
    }
    return plan_for(out, 0.01, batch=4, workers=0, steps=4, start=start, **tiny)
