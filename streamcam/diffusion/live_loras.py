"""Live scales of LoRAs: an input of the U-Net's engines, and of the text encoders."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor

import torch
from torch import Tensor, nn

from streamcam.diffusion.steering import LayerInputs, Steering
from streamcam.models.lora_layers import LoraScales, lora_layers
from streamcam.settings.parameters import Parameters

KNOTS = 20
"""Texts are encoded at multiples of one of so many parts of a scale of 1."""

Scales = tuple[float, ...]


class LiveLoras:
    """The LoRAs in the layers of a model; by default there are none.

    Args:
        unet: may have layers with LoRAs.
        text_encoders: likewise.
        inputs: of the layers of `unet`.
        start: the scales at start by name, in the order in which LoRAs are numbered.
        device: of the model.
    """

    def __init__(
        self,
        unet: nn.Module | None = None,
        text_encoders: Iterable[nn.Module] = (),
        inputs: LayerInputs | None = None,
        start: Mapping[str, float] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.device = device
        self._inputs = inputs or LayerInputs()
        self._text_layers = [layer for each in text_encoders for layer in lora_layers(each)]
        self._start = dict(start or {})
        self.in_texts = frozenset(lora for layer in self._text_layers for lora in layer.loras)
        """The numbers of those that change the text encoders."""
        for layer in lora_layers(unet) if unet is not None else ():
            layer.source = self._inputs

    def scales_of(self, parameters: Parameters) -> Scales:
        """Return the scale of each LoRA."""
        scales = dict(parameters.lora_scale)
        return tuple(scales.get(name, scale) for name, scale in self._start.items())

    def for_prompt_kv(self, scales: Tensor | None) -> None:
        """Make the next keys and values of a prompt at `scales`."""
        self._inputs.begin(Steering(lora_scales=scales))

    def for_texts(self, scales: Scales) -> None:
        """Encode the next texts at `scales`."""
        source = LoraScales(scales, self.device)
        for layer in self._text_layers:
            layer.source = source

    def text_scales(self, scales: Scales) -> list[tuple[Scales, float]]:
        """Return the scales to encode a text at, and the weight of each in the blend of all.

        To encode a text takes longer than a frame of a fade may be late. So it is done at the
        scales of the start and at multiples of 1/20, which all frames of a fade share.
        """
        if not self.in_texts:
            return [((), 1.0)]
        used, start = (
            tuple(scale * (lora in self.in_texts) for lora, scale in enumerate(each))
            for each in (scales, self._start.values())
        )
        return [(used, 1.0)] if used == start else _knots(used)


NO_LORAS = LiveLoras()


def _knots(scales: Scales) -> list[tuple[Scales, float]]:
    """Return the multiples of 1/20 around `scales`, and the weight of each; they add up to 1.

    At most one more than there are scales: the corners of the simplex that holds them, when
    every cube of a grid is cut into those along its diagonal (Kuhn's triangulation).
    """
    parts = [round(scale * KNOTS, 6) for scale in scales]
    corner = [floor(part) for part in parts]
    rest = [part - whole for part, whole in zip(parts, corner, strict=True)]
    found, left = [], 1.0
    for axis in sorted(range(len(rest)), key=rest.__getitem__, reverse=True):
        found.append((_scales(corner), left - rest[axis]))
        corner[axis] += 1
        left = rest[axis]
    found.append((_scales(corner), left))
    return [(knot, weight) for knot, weight in found if weight > 0]


def _scales(corner: Sequence[int]) -> Scales:
    return tuple(whole / KNOTS for whole in corner)


class ScaleTensor:
    """The scales of LoRAs of the parameters in use, on the device.

    Args:
        loras: of the model.
        copy: copies a CPU tensor into one on the model's device, without waiting.
        fixed: whether calls are recorded, so that their memory must stay where it is.
    """

    def __init__(
        self, loras: LiveLoras, copy: Callable[[Tensor, Tensor], object], *, fixed: bool
    ) -> None:
        self._loras = loras
        self._copy = copy
        self._fixed = fixed
        self._scales: Scales = ()
        self.tensor: Tensor | None = None
        """``(loras,)`` float32; None without LoRAs."""

    def update(self, parameters: Parameters) -> None:
        """Take over the scales of `parameters`."""
        scales = self._loras.scales_of(parameters)
        if scales == self._scales:
            return
        self._scales = scales
        if self.tensor is None or not self._fixed:
            self.tensor = torch.empty(len(scales), device=self._loras.device)
        self._copy(self.tensor, torch.tensor(scales))
