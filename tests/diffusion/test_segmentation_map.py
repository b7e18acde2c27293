"""Segmentation maps in ADE20K's colours."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamcam.diffusion.segmentation_map import SegmentationMap
from streamcam.errors import ModelError
from streamcam.models.segmentation import PALETTE, SegmentationModel, load_segmentation_model
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from tests.support.drawing_models import save_pose_model, save_segmentation_model
from tests.support.streams import TINY

SKY, PERSON = 2, 12


def config_of(folder: Path) -> Config:
    return build_config([TINY, {"segmentation_model": str(folder)}])


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory: pytest.TempPathFactory) -> SegmentationModel:
    folder = save_segmentation_model(tmp_path_factory.mktemp("segmentation"))
    return load_segmentation_model(config_of(folder), torch.float32)


class Halves(torch.nn.Module):
    """Stands for a segmentation model: sky on the left, and a person on the right."""

    dtype = torch.float32

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        logits = torch.zeros(len(pixel_values), 150, 8, 8)
        logits[:, SKY, :, :4] = 1
        logits[:, PERSON, :, 4:] = 1
        return SimpleNamespace(logits=logits)


def test_each_class_has_the_colour_of_ade20k(segmentation: SegmentationModel) -> None:
    shown = SegmentationMap(segmentation._replace(model=Halves()), 64, 96)(
        torch.zeros(1, 3, 96, 64)
    )
    levels = (shown[0] * 255).round().to(torch.int64)
    assert levels[:, :, :31].flatten(1).unique(dim=1).flatten().tolist() == [6, 230, 230]
    assert levels[:, :, 33:].flatten(1).unique(dim=1).flatten().tolist() == [150, 5, 61]


def test_a_map_has_the_classes_that_the_model_finds(segmentation: SegmentationModel) -> None:
    stage = SegmentationMap(segmentation, 64, 64)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    shown = (stage(images) * 255).round().to(torch.int64)
    pixels = ((images + 1) / 2 - stage.mean) / stage.std
    logits: Any = segmentation.model(pixel_values=pixels).logits
    for image, classes in zip(shown, logits.argmax(dim=1), strict=True):
        colours = {tuple(c) for c in image.flatten(1).T.tolist()}
        assert colours == {tuple(PALETTE[3 * i : 3 * i + 3]) for i in classes.unique().tolist()}


def test_large_images_are_segmented_at_a_size_that_runs_at_frame_rate(
    segmentation: SegmentationModel,
) -> None:
    assert SegmentationMap(segmentation, 1280, 720).size == (384, 672)
    assert SegmentationMap(segmentation._replace(side=640), 1280, 720).size == (640, 640)


def test_models_of_another_kind_are_refused_with_the_remedy(tmp_path: Path) -> None:
    cityscapes = save_segmentation_model(tmp_path / "cityscapes", labels=19)
    with pytest.raises(ModelError, match="finds 19 classes, not the 150 of ADE20K; name another"):
        load_segmentation_model(config_of(cityscapes), torch.float32)
    lacking = save_segmentation_model(tmp_path / "lacking")
    weights = load_file(lacking / "model.safetensors")
    del weights["decode_head.classifier.bias"]
    save_file(weights, lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 of its weights, such as decode_head"):
        load_segmentation_model(config_of(lacking), torch.float32)
    (lacking / "model.safetensors").rename(lacking / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors weights; others are pickled"):
        load_segmentation_model(config_of(lacking), torch.float32)
    pose = save_pose_model(tmp_path / "pose")
    with pytest.raises(
        ModelError, match="is a vitpose, which finds no class for each pixel; name a segmen"
    ):
        load_segmentation_model(config_of(pose), torch.float32)
