"""Load the models that draw what ControlNets are shown: depth, pose and segmentation."""

from collections.abc import Callable

import torch

from streamcam.models.depth import DepthModel, load_depth_model
from streamcam.models.pose import PoseModel, load_pose_model
from streamcam.models.segmentation import SegmentationModel, load_segmentation_model
from streamcam.settings.config import Config
from streamcam.settings.control_inputs import DEPTH, POSE, SEGMENTATION

DrawingModel = DepthModel | PoseModel | SegmentationModel

LOADERS: dict[str, Callable[[Config, torch.dtype], DrawingModel]] = {
    DEPTH: load_depth_model,
    POSE: load_pose_model,
    SEGMENTATION: load_segmentation_model,
}
"""By the name of the preprocessor."""


def load_drawing_models(config: Config, dtype: torch.dtype) -> dict[str, DrawingModel]:
    """Return the models that any ControlNet of `config` needs, by the preprocessor.

    Raises:
        ModelError: one is missing, damaged or of another kind.
    """
    inputs = {shown.preprocessor for shown in config.control_inputs.values()}
    return {kind: load(config, dtype) for kind, load in LOADERS.items() if kind in inputs}
