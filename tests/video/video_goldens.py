"""Reference data of the video pipeline, and the small model that it was recorded with."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from streamcam.video.wan import CausalWan
from streamcam.video.wan_weights import load_wan_transformer
from tests.conftest import SHARED

GOLDENS = Path(os.environ.get("STREAMCAM_VIDEO_GOLDENS", SHARED / "goldens" / "v2"))
SIZE = (8, 12)
"""Height and width of the latents."""

needs_goldens = pytest.mark.skipif(
    not GOLDENS.exists(), reason="the reference data is not next to this checkout"
)


@cache
def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the description in a file of the reference data."""
    with safe_open(GOLDENS / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["json"])


def close(actual: Tensor, expected: Tensor) -> None:
    """Fail unless both are equal to 1e-4."""
    torch.testing.assert_close(actual.float(), expected.float(), atol=1e-4, rtol=0)


@cache
def wan() -> CausalWan:
    """Return the small transformer that the reference data was recorded with."""
    weights, described = golden("dit_tiny_weights")
    config = described["config"]
    head_dim = config["dim"] // config["num_heads"]
    return CausalWan(load_wan_transformer(weights, torch.float32, head_dim=head_dim), SIZE)
