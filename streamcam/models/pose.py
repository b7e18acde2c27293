"""Load a model that finds the joints of a person, for ControlNets that are shown a pose."""

from typing import Any, NamedTuple

import torch

from streamcam.errors import ModelError
from streamcam.models.vision_models import Task, load_vision_model
from streamcam.settings.config import Config

JOINTS = 17
"""Those of the COCO data set."""
TASK = Task("pose_model", "pose", "finds no joints", "VitPoseForPoseEstimation")


class PoseModel(NamedTuple):
    """A ViTPose of transformers, and how it takes images."""

    model: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    """Height and width of its images, which show one person."""


def load_pose_model(config: Config, dtype: torch.dtype) -> PoseModel:
    """Return the pose model of `config`.

    Raises:
        ModelError: it is missing, damaged, or finds other joints than those of COCO.
    """
    loaded = load_vision_model(config, TASK, dtype)
    settings = loaded.settings
    if settings.num_labels != JOINTS:
        raise ModelError(
            f"{config.pose_model} finds {settings.num_labels} joints, not the {JOINTS} of COCO;"
            " name another pose model with --set pose_model=…"
        )
    height, width = settings.backbone_config.image_size
    return PoseModel(*loaded, (int(height), int(width)))
