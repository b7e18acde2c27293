"""Tiny models of transformers in their real layouts, which draw what ControlNets are shown."""

from pathlib import Path

import torch
import transformers


def save_depth_model(folder: Path) -> Path:
    """Save a Depth Anything, with random weights."""
    backbone = transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    settings = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    torch.manual_seed(0)
    transformers.DepthAnythingForDepthEstimation(settings).save_pretrained(folder)
    return folder


def save_pose_model(folder: Path, *, labels: int = 17) -> Path:
    """Save a ViTPose of the layout of ViTPose+, with random weights, that is sure of all joints."""
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[64, 48],
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_experts=6,
        part_features=4,
        out_indices=[2],
    )
    settings = transformers.VitPoseConfig(
        backbone_config=backbone, num_labels=labels, use_simple_decoder=False
    )
    torch.manual_seed(0)
    model = transformers.VitPoseForPoseEstimation(settings)
    torch.nn.init.ones_(model.head.conv.bias)
    model.save_pretrained(folder)
    return folder


def save_segmentation_model(folder: Path, *, labels: int = 150) -> Path:
    """Save an UperNet with a ConvNeXt, with random weights."""
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=stages
    )
    settings = transformers.UperNetConfig(
        backbone_config=backbone,
        hidden_size=8,
        auxiliary_channels=4,
        auxiliary_in_channels=8,
        num_labels=labels,
    )
    torch.manual_seed(0)
    transformers.UperNetForSemanticSegmentation(settings).save_pretrained(folder)
    return folder
