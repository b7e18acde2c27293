"""Stages: nothing is done in a frame that could be done before it."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from streamcam.diffusion.stages import Condition, Decode, Denoise, Encode
from streamcam.models.random_models import random_pipeline, random_tiny_vae


class WeightCasts(TorchDispatchMode):
    """Records conversions of tensors that belong to `stage`."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        weights = [*stage.parameters(), *stage.buffers()]
        self._weights = {tensor.untyped_storage()._cdata for tensor in weights}
        self.casts: list[str] = []
        self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        is_cast = func._schema.name in ("aten::to", "aten::_to_copy", "aten::type_as")
        if is_cast and args[0].untyped_storage()._cdata in self._weights:
            self.casts += [str(func)] * (result.dtype != args[0].dtype)
        return result


@pytest.mark.parametrize("family", ["sd-turbo", "sdxl-turbo"])
@pytest.mark.parametrize("name", ["encode", "denoise", "decode"])
def test_no_weight_is_converted_in_a_frame(family: str, name: str) -> None:
    dtype = torch.bfloat16
    pipe = random_pipeline(f"tiny-{family}")
    unet, vae = pipe.unet.to(dtype), random_tiny_vae(4, width=8).to(dtype)
    embeds = torch.zeros(1, 77, unet.config.cross_attention_dim, dtype=dtype)
    pooled = time_ids = None
    if family == "sdxl-turbo":
        pooled, time_ids = torch.zeros(1, 64, dtype=dtype), torch.ones(1, 6, dtype=dtype)
    x, timesteps = torch.zeros(1, 4, 2, 2), torch.tensor([500])
    calls: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {
        "encode": (Encode(vae), (torch.zeros(1, 3, 16, 16), None)),
        "denoise": (
            Denoise(unet, "epsilon", torch.linspace(0.99, 0.01, 1000)),
            (x, timesteps, Condition(embeds, pooled, time_ids)),
        ),
        "decode": (Decode(vae), (x,)),
    }
    stage, inputs = calls[name]
    with torch.no_grad(), WeightCasts(stage) as seen:
        stage(*inputs)
    assert seen.operations > 10
    assert seen.casts == []
