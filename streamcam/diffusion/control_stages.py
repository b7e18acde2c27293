"""Stages of a ControlNet or a T2I-Adapter: from an image to the residuals for a U-Net."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.diffusion.depth_map import DepthMap
from streamcam.diffusion.pose_map import PoseMap
from streamcam.diffusion.residuals import ResidualShapes, Shape, pack
from streamcam.diffusion.segmentation_map import SegmentationMap
from streamcam.diffusion.stages import Condition
from streamcam.engines.device_info import is_nvidia_gpu
from streamcam.models.controlnet import LoadedControl
from streamcam.models.depth import DepthModel
from streamcam.models.drawing_models import DrawingModel
from streamcam.models.pose import PoseModel
from streamcam.settings.config import Config
from streamcam.settings.control_inputs import ControlInput


class ControlStages(NamedTuple):
    """One ControlNet or T2I-Adapter, and its preprocessor."""

    name: str
    predict: Callable[..., Tensor]
    """Accelerated `Control` or `Adapt`."""
    is_adapter: bool
    shown: ControlInput
    values: int
    """Of all residuals of a row."""
    dtype: torch.dtype
    preprocess: Callable[[Tensor], Tensor] | None = None
    """On the device, ``(f, 3, H, W)`` in [-1, 1] to what it is shown, in [0, 1]."""

    def accelerated(self, accelerate: Callable[[Any], Callable[..., Tensor]]) -> "ControlStages":
        """Return these stages, each as `accelerate` returns it."""
        preprocess = self.preprocess and accelerate(self.preprocess)
        return self._replace(predict=accelerate(self.predict), preprocess=preprocess)

    @property
    def is_shown_batch(self) -> bool:
        """Whether it needs the frames as the model gets them, on the device."""
        return not self.shown.source and self.shown.preprocessor not in HOST_PREPROCESSORS


HOST_PREPROCESSORS = ("edges", "softedge", "lineart", "scribble")
"""Those of OpenCV, which run on the CPU before anything is uploaded."""


class Control(nn.Module):
    """Predict the residuals of a ControlNet for every row of a U-Net call."""

    def __init__(self, net: Any, name: str) -> None:
        super().__init__()
        self.net = net
        self.name = name
        self.width = net.config.cross_attention_dim

    def forward(
        self, x_t: Tensor, timesteps: Tensor, condition: Condition, images: Tensor
    ) -> Tensor:
        """Return residuals ``(rows, values)`` for images ``(rows, 3, H, W)`` in [0, 1].

        The other arguments are those of `Denoise`.
        """
        dtype = self.net.dtype
        added = None
        if condition.pooled_prompt_embeds is not None:
            added = {
                "text_embeds": condition.pooled_prompt_embeds,
                "time_ids": condition.time_ids,
            }
        down, middle = self.net(
            x_t.to(dtype),
            timesteps,
            # Cached keys and values are the U-Net's own.
            encoder_hidden_states=condition.encoder_hidden_states[..., : self.width],
            controlnet_cond=images.to(dtype),
            added_cond_kwargs=added,
            return_dict=False,
        )
        return pack([*down, middle])

    def extra_repr(self) -> str:
        return self.name


class Adapt(nn.Module):
    """Compute the features of a T2I-Adapter, which follow from the image alone."""

    def __init__(self, net: Any, name: str) -> None:
        super().__init__()
        self.net = net
        self.name = name

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``(f, values)`` for images ``(f, 3, H, W)`` in [0, 1]."""
        return pack(self.net(images.to(self.net.dtype)))

    def extra_repr(self) -> str:
        return self.name


def control_shapes(unet: Any, latent_shape: tuple[int, int, int]) -> tuple[Shape, ...]:
    """Return the shapes of the residuals of any ControlNet for `unet`, middle one last."""
    _, height, width = latent_shape
    channels = unet.config.block_out_channels
    shapes = [(channels[0], height, width)]
    for level, count in enumerate(channels):
        shapes += [(count, height, width)] * unet.config.layers_per_block
        if level < len(channels) - 1:
            height, width = -(-height // 2), -(-width // 2)
            shapes.append((count, height, width))
    return (*shapes, (channels[-1], height, width))


def adapter_shapes(adapter: Any, width: int, height: int) -> tuple[Shape, ...]:
    """Return the shapes of the features of a T2I-Adapter for images of this size."""
    with torch.device("meta"):
        twin = type(adapter).from_config(adapter.config)
        features = twin(torch.empty(1, 3, height, width))
    return tuple(tuple(part.shape[1:]) for part in features)


def residual_shapes(
    controls: Sequence[LoadedControl],
    unet: Any,
    latent_shape: tuple[int, int, int],
    size: tuple[int, int],
) -> ResidualShapes:
    """Return the shapes of what `controls` add to `unet`.

    Args:
        controls: the ControlNets and T2I-Adapters.
        unet: the U-Net.
        latent_shape: ``(C, h, w)``.
        size: width and height of the images.
    """
    adapters = [control.module for control in controls if control.is_adapter]
    return ResidualShapes(
        control_shapes(unet, latent_shape) if len(adapters) < len(controls) else (),
        adapter_shapes(adapters[0], *size) if adapters else (),
    )


def control_stages(
    controls: Sequence[LoadedControl],
    config: Config,
    shapes: ResidualShapes,
    device: torch.device,
    drawn_by: Mapping[str, DrawingModel],
) -> list[ControlStages]:
    """Return the stages of `controls`, moved to the device.

    Args:
        controls: the ControlNets and T2I-Adapters.
        config: says what they are shown.
        shapes: of what they add to the U-Net.
        device: that of the model.
        drawn_by: models that draw what they are shown, by the preprocessor.
    """
    stages = []
    draws = {
        kind: drawing_stage(model, config.width, config.height).to(device)
        for kind, model in drawn_by.items()
    }
    for name, module in controls:
        net = module.to(device)
        if is_nvidia_gpu(device):
            net.to(memory_format=torch.channels_last)
        is_adapter = LoadedControl(name, module).is_adapter
        parts = shapes.adapters if is_adapter else shapes.controlnets
        stage = Adapt(net, name) if is_adapter else Control(net, name)
        values = sum(map(prod, parts))
        shown = config.control_inputs[name]
        preprocess = draws.get(shown.preprocessor)
        stages.append(ControlStages(name, stage, is_adapter, shown, values, net.dtype, preprocess))
    return stages


def drawing_stage(model: DrawingModel, width: int, height: int) -> nn.Module:
    """Return the stage that draws with `model`, in images of this size."""
    if isinstance(model, DepthModel):
        return DepthMap(model, width, height)
    if isinstance(model, PoseModel):
        return PoseMap(model, width, height)
    return SegmentationMap(model, width, height)
