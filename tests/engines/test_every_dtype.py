"""Every engine in every dtype is accurate enough, on nano and on the reference data's models.

On a user's machine the same is checked when an engine is built; here it is seen that the floors
are ones that every engine reaches with whole models, all stages of them.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from streamcam.engines.accuracy import MIN_PSNR, check_accuracy
from streamcam.engines.compiled import CompiledEngine
from streamcam.engines.dtypes import FLOAT8, name_of
from streamcam.engines.eager import EagerEngine
from streamcam.engines.engine import Engine
from streamcam.engines.flat_stage import FlatStage
from streamcam.engines.openvino import CPU as PROCESSOR
from streamcam.engines.openvino import OpenVinoEngine, dtypes
from streamcam.engines.tensorrt import TensorRtEngine
from tests.diffusion.test_goldens import GOLDENS
from tests.engines.test_tensorrt import CPU, NANO, STAGES, calls_of, tensorrt
from tests.support.streams import EAGER

__all__ = ["tensorrt"]

FULL, HALF, BRAIN = torch.float32, torch.float16, torch.bfloat16
MAKE: dict[str, Callable[[torch.dtype], Engine]] = {
    "eager": lambda dtype: EagerEngine(CPU, dtype),
    "openvino": lambda dtype: OpenVinoEngine(PROCESSOR, dtype),
    "compiled": lambda dtype: CompiledEngine(CPU, dtype),
    # Of which onnxruntime takes the place: what is checked is what TensorRT is given to compute.
    "tensorrt": lambda dtype: TensorRtEngine(CPU, dtype),
}
ALL = ("nano", "tiny-sd", "tiny-sdxl")
CASES = [
    ("eager", HALF, ALL),
    ("eager", BRAIN, ALL),
    ("openvino", FULL, ALL),
    ("openvino", BRAIN, ALL),
    # A minute each. In float32 test_compiled holds a whole U-Net to the floor, and a small stage.
    ("compiled", BRAIN, ("nano", "tiny-sdxl")),
    ("tensorrt", FULL, ALL),
    ("tensorrt", HALF, ALL),
    ("tensorrt", FLOAT8, ALL),
]


@cache
def calls(model: str, dtype: str) -> dict[str, tuple[FlatStage, list[Tensor]]]:
    """Return every stage of a model with its weights in `dtype`, and its inputs."""
    settings: dict[str, Any] = NANO
    if model != "nano":
        folder = GOLDENS / "models"
        named = {"model": str(folder / model), "vae": str(folder / "tiny-taesd")}
        settings = EAGER | named | {"use_lcm_lora": False, "width": 64, "height": 64}
    return calls_of(settings | {"dtype": dtype})


def stages_of(model: str) -> tuple[str, ...]:
    """Return the stages of a model, without those that tiny-sd has too: its autoencoder."""
    return ("denoise",) if model == "tiny-sdxl" else STAGES


@pytest.mark.parametrize(
    ("name", "dtype", "model"),
    [
        pytest.param(name, dtype, model, id=f"{name} {name_of(dtype)} {model}")
        for name, dtype, models in CASES
        for model in models
    ],
)
def test_all_stages_are_accurate_enough(
    tensorrt: Any, tmp_path: Path, name: str, dtype: torch.dtype, model: str
) -> None:
    if model != "nano" and not (GOLDENS / "models" / model).is_dir():
        pytest.skip("the reference data is not next to this checkout")
    if name == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is an extra")
        if dtype not in dtypes(PROCESSOR):
            # It refuses then, for which there is a test of its own.
            pytest.skip(f"OpenVINO does not compute in {name_of(dtype)} on this processor")
    engine = MAKE[name](dtype)
    found = calls(model, name_of(engine.weights_dtype))
    reached = {}
    for stage in stages_of(model):
        flat, inputs = found[stage]
        if engine.supports(flat):
            with torch.no_grad():
                engine.build(flat, inputs, tmp_path)
                run = engine.load(tmp_path) or flat
                reached[stage] = check_accuracy(run, flat, inputs, engine.dtype)
    checked = ("denoise",) if dtype == FLOAT8 else stages_of(model)
    assert tuple(reached) == checked
    assert min(reached.values()) >= MIN_PSNR[dtype]
