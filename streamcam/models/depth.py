"""Load a model that estimates depth, for ControlNets that are shown it."""

from typing import Any, NamedTuple

import torch

from streamcam.models.vision_models import Task, load_vision_model
from streamcam.settings.config import Config

SIDE = 308
"""Shorter side in pixels that depth is estimated at: most of the detail at a third of the time."""
TASK = Task("depth_model", "depth", "estimates no depth", "AutoModelForDepthEstimation")


class DepthModel(NamedTuple):
    """A depth estimator of transformers, and how it takes images."""

    model: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patch: int
    """The sides of its images are multiples of it."""
    is_square: bool
    is_distance: bool
    """Whether larger values are farther away; else they are nearer."""


def load_depth_model(config: Config, dtype: torch.dtype) -> DepthModel:
    """Return the depth model of `config`.

    Raises:
        ModelError: it is missing, damaged, or estimates no depth.
    """
    loaded = load_vision_model(config, TASK, dtype)
    settings = loaded.settings
    backbone = getattr(settings, "backbone_config", None) or settings
    is_metric = getattr(settings, "depth_estimation_type", "relative") == "metric"
    return DepthModel(
        *loaded,
        int(getattr(backbone, "patch_size", 32)),
        is_square=settings.model_type == "dpt",
        is_distance=is_metric or settings.model_type in ("zoedepth", "glpn"),
    )
