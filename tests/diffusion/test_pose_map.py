"""Poses against transformers' own processing of ViTPose, and OpenPose's drawing by OpenCV."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import transformers

from streamcam.diffusion.pose_map import PoseMap, padded, person_boxes
from streamcam.diffusion.skeleton import COLOURS, LIMBS, Skeleton, openpose_joints
from streamcam.models.pose import PoseModel, load_pose_model
from streamcam.settings.config_layers import build_config
from tests.support.drawing_models import save_pose_model
from tests.support.streams import TINY

COCO = [
    *[(250, 70), (262, 60), (238, 60), (280, 68), (222, 68)],
    *[(300, 140), (200, 140), (330, 220), (160, 210), (350, 300), (120, 150)],
    *[(280, 300), (220, 300), (290, 400), (210, 400), (300, 490), (200, 490)],
]
"""COCO's 17 joints of somebody who waves."""
STANDING = torch.tensor([COCO], dtype=torch.float32)
SURE = torch.ones(1, 17)
BOX = (100.0, 40.0, 270.0, 460.0)
"""Left, top, width and height."""


@pytest.fixture(scope="module")
def pose(tmp_path_factory: pytest.TempPathFactory) -> PoseModel:
    folder = save_pose_model(tmp_path_factory.mktemp("pose"))
    config = build_config([TINY, {"pose_model": str(folder)}])
    return load_pose_model(config, torch.float32)


class HeatMaps(torch.nn.Module):
    """Stands for a ViTPose: returns the same heat maps for every image."""

    dtype = torch.float32

    def __init__(self, maps: torch.Tensor) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(heatmaps=self.maps)


def heat_maps() -> torch.Tensor:
    """Return 17 maps ``(1, 17, 64, 48)``, each of one peak between cells."""
    rng = np.random.default_rng(1)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
    peaks = [rng.uniform((3, 3), (44, 60)) for _ in range(17)]
    maps = [torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in peaks]
    return torch.stack(maps).unsqueeze(0) * torch.linspace(0.1, 0.9, 17).reshape(1, 17, 1, 1)


def test_crops_and_joints_are_those_of_the_processor_of_transformers(pose: PoseModel) -> None:
    processor = transformers.VitPoseImageProcessor()
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = cv2.resize(small, (512, 512), interpolation=cv2.INTER_LINEAR)
    model = HeatMaps(heat_maps())
    stage = PoseMap(pose._replace(model=model, size=(256, 192)), 512, 512)
    left, top, width, height = BOX
    centre = [left + width / 2, top + height / 2]
    boxes = padded(torch.tensor([[*centre, width, height]]), (256, 192))
    images = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    crops = stage.crops(images, boxes)
    wanted = processor(image, boxes=[[BOX]], return_tensors="pt")["pixel_values"]
    inside = (crops != 0).all(dim=1, keepdim=True).expand_as(wanted)
    given = (crops - stage.mean) / stage.std
    assert inside.float().mean() > 0.7
    assert (given - wanted)[inside].abs().max() < 0.02
    joints, scores = stage.joints(crops, boxes)
    outputs = SimpleNamespace(heatmaps=model.maps)
    expected = processor.post_process_pose_estimation(outputs, boxes=[[BOX]], threshold=0.0)[0][0]
    assert torch.allclose(joints[0], expected["keypoints"].float(), atol=0.02)
    assert torch.allclose(scores[0], expected["scores"].float().flatten())


def drawn_by_opencv(joints: Any, certain: Any) -> np.ndarray:
    """Draw OpenPose's 18 joints as the annotator of the published ControlNets does."""
    canvas = np.zeros((512, 512, 3), np.uint8)
    for (a, b), colour in zip(LIMBS, COLOURS, strict=False):
        if certain[a] and certain[b]:
            (x0, y0), (x1, y1) = joints[a], joints[b]
            length = math.hypot(x0 - x1, y0 - y1)
            angle = math.degrees(math.atan2(y0 - y1, x0 - x1))
            middle = (int((x0 + x1) / 2), int((y0 + y1) / 2))
            axes = (int(length / 2), 4)
            polygon = cv2.ellipse2Poly(middle, axes, int(angle), 0, 360, 1)
            cv2.fillConvexPoly(canvas, polygon, [int(c * 0.6) for c in colour])
    for (x, y), colour, is_drawn in zip(joints, COLOURS, certain, strict=True):
        if is_drawn:
            cv2.circle(canvas, (int(x), int(y)), 4, colour, thickness=-1)
    return canvas


def test_a_skeleton_is_drawn_as_openpose_draws_it() -> None:
    scores = SURE.clone()
    scores[0, 9] = 0.1  # The left wrist.
    joints, certain = openpose_joints(STANDING, scores)
    drawn = Skeleton(512, 512)(joints, certain)
    assert drawn.shape == (1, 3, 512, 512)
    levels = (drawn[0] * 255).round().byte().permute(1, 2, 0).numpy()
    expected = drawn_by_opencv(joints[0].tolist(), (certain[0] >= 0.3).tolist())
    shown, wanted = levels.any(axis=2), expected.any(axis=2)
    # OpenCV's have whole coordinates and degrees, and are a pixel thicker.
    assert (shown & wanted).sum() > 0.85 * wanted.sum()
    near = cv2.dilate(wanted.astype(np.uint8), np.ones((5, 5)))
    assert not (shown & ~near.astype(bool)).any()
    same = (levels == expected).all(axis=2) & shown & wanted
    assert same.sum() > 0.85 * (shown & wanted).sum()


def test_the_neck_is_between_the_shoulders_and_left_is_left() -> None:
    joints, _ = openpose_joints(STANDING, SURE)
    assert joints[0, 1].tolist() == [250, 140]
    right_wrist, left_ankle, right_eye, left_ear = joints[0, [4, 13, 14, 17]].tolist()
    assert (right_wrist, left_ankle) == ([120, 150], [300, 490])
    assert (right_eye, left_ear) == ([238, 60], [280, 68])


def test_what_is_uncertain_is_left_out() -> None:
    skeleton = Skeleton(128, 128)
    joints, _ = openpose_joints(STANDING / 4, SURE)
    assert skeleton(joints, torch.ones(1, 18)).any()
    assert not skeleton(joints, torch.full((1, 18), 0.29)).any()
    alone = torch.zeros(1, 18)
    alone[0, 4] = 1
    shown = skeleton(joints, alone)[0].permute(1, 2, 0)
    painted = shown[shown.any(dim=2)] * 255
    assert painted.round().unique(dim=0).tolist() == [[*COLOURS[4]]]


def test_the_box_is_around_the_person_or_the_whole_image_where_nobody_is() -> None:
    masks = torch.zeros(3, 1, 48, 64)
    masks[0, 0, 12:36, 16:32] = 1
    masks[1, 0, 5, 5] = 1  # A speck.
    boxes = person_boxes(masks, (3, 3, 480, 640))
    assert boxes.tolist() == [[240, 240, 160, 240], [320, 240, 640, 480], [320, 240, 640, 480]]


def test_a_pose_is_drawn_for_each_image_of_a_batch(pose: PoseModel) -> None:
    stage = PoseMap(pose, 96, 64)
    drawn = stage(torch.rand(2, 3, 64, 96) * 2 - 1)
    assert drawn.shape == (2, 3, 64, 96)
    assert drawn.amin() == 0 < drawn.amax() <= 1


def test_a_model_of_other_joints_is_refused(tmp_path: Path) -> None:
    folder = save_pose_model(tmp_path, labels=21)
    with pytest.raises(Exception, match="finds 21 joints, not the 17 of COCO"):
        load_pose_model(build_config([TINY, {"pose_model": str(folder)}]), torch.float32)
