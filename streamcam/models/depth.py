"""Load a model that estimates depth, for ControlNets that are shown it."""

from typing import Any, NamedTuple

import torch

from streamcam.errors import ModelError
from streamcam.models import hub
from streamcam.models.weights import check_finite, explain_load_errors, read_json
from streamcam.settings.config import Config

SIDE = 308
"""Shorter side in pixels that depth is estimated at: most of the detail at a third of the time."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
    name = config.depth_model
    with hub.offline_mode(offline=config.offline):
        folder = hub.depth_folder(name, offline=config.offline)
        with explain_load_errors(f"the depth model {name}", folder, "fetch it again"):
            from transformers import AutoConfig, AutoModelForDepthEstimation

            settings = AutoConfig.from_pretrained(str(folder), local_files_only=True)
            if type(settings) not in AutoModelForDepthEstimation._model_mapping:
                raise ModelError(
                    f"{name} is a {settings.model_type}, which estimates no depth; name a depth"
                    " model with --set depth_model=…"
                )
            model = AutoModelForDepthEstimation.from_pretrained(
                str(folder), dtype=dtype, local_files_only=True, use_safetensors=True
            )
        file = folder / "preprocessor_config.json"
        images = read_json(file) if file.exists() else {}
    check_finite(model, f"the depth model {name}")
    backbone = getattr(settings, "backbone_config", None) or settings
    is_metric = getattr(settings, "depth_estimation_type", "relative") == "metric"
    return DepthModel(
        model.eval().requires_grad_(False),
        tuple(images.get("image_mean", IMAGENET_MEAN)),
        tuple(images.get("image_std", IMAGENET_STD)),
        int(getattr(backbone, "patch_size", 32)),
        is_square=settings.model_type == "dpt",
        is_distance=is_metric or settings.model_type in ("zoedepth", "glpn"),
    )
