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
from streamcam.errors import ModelError
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
            **self._net_inputs(images.to(dtype)),
            added_cond_kwargs=added,
            return_dict=False,
        )
        return pack([*down, middle])

    def _net_inputs(self, images: Tensor) -> dict[str, Any]:
        return {"controlnet_cond": images}

    def extra_repr(self) -> str:
        return self.name


class UnionControl(Control):
    """Predict the residuals of a union ControlNet, whose images are of one type."""

    def __init__(self, net: Any, name: str, type_index: int) -> None:
        super().__init__(net, name)
        self.type_index = type_index
        types = torch.arange(net.config.num_control_type) == type_index
        self.types: Tensor
        self.register_buffer("types", types.float().unsqueeze(0), persistent=False)

    def _net_inputs(self, images: Tensor) -> dict[str, Any]:
        return {
            "controlnet_cond": [images],
            "control_type": self.types.expand(len(images), -1),
            "control_type_idx": [self.type_index],
        }

    def extra_repr(self) -> str:
        return f"{self.name}, type={self.type_index}"


class Adapt(nn.Module):
    """Compute the features of a T2I-Adapter, which follow from the image alone."""

    def __init__(self, net: Any, name: str) -> None:
        super().__init__()
        self.net = net
        self.name = name

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``(f, values)`` for images ``(f, 3, H, W)`` in [0, 1]."""
        if self.net.config.in_channels == 1:
            # Maps have three equal channels.
            images = images.mean(dim=1, keepdim=True)
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
        features = twin(torch.empty(1, adapter.config.in_channels, height, width))
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

    Raises:
        ModelError: two T2I-Adapters have features of other shapes.
    """
    adapters = {c.name: adapter_shapes(c.module, *size) for c in controls if c.is_adapter}
    first = next(iter(adapters), "")
    for name, shapes in adapters.items():
        if shapes != adapters[first]:
            raise ModelError(
                f"the T2I-Adapters {first} and {name} add to other layers of the model: choose one"
                " of them, or two of one type"
            )
    return ResidualShapes(
        control_shapes(unet, latent_shape) if len(adapters) < len(controls) else (),
        adapters[first] if adapters else (),
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
    for control in controls:
        net = control.module.to(device)
        if is_nvidia_gpu(device):
            net.to(memory_format=torch.channels_last)
        parts = shapes.adapters if control.is_adapter else shapes.controlnets
        shown = config.control_inputs[control.name]
        stages.append(
            ControlStages(
                control.name,
                _stage(control).to(device),
                control.is_adapter,
                shown,
                sum(map(prod, parts)),
                net.dtype,
                draws.get(shown.preprocessor),
            )
        )
    return stages


def _stage(control: LoadedControl) -> nn.Module:
    if control.is_adapter:
        return Adapt(control.module, control.name)
    if control.union_type is not None:
        return UnionControl(control.module, control.name, control.union_type)
    return Control(control.module, control.name)


def drawing_stage(model: DrawingModel, width: int, height: int) -> nn.Module:
    """Return the stage that draws with `model`, in images of this size."""
    if isinstance(model, DepthModel):
        return DepthMap(model, width, height)
    if isinstance(model, PoseModel):
        return PoseMap(model, width, height)
    return SegmentationMap(model, width, height)
