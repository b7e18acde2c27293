"""Every engine in every dtype is accurate enough, on nano and on a small SDXL.

On a user's machine the same is checked when an engine is built; here it is seen that the floors
are ones that every engine reaches with whole models, all stages of them. The models of the
reference data run eagerly: they have no layers that those two lack, as is seen here too.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from streamcam.engines.accuracy import MIN_PSNR, check_accuracy
from streamcam.engines.compiled import CompiledEngine
from streamcam.engines.dtypes import FLOAT8, name_of
from streamcam.engines.eager import EagerEngine
from streamcam.engines.engine import Engine
from streamcam.engines.flat_stage import FlatStage
from streamcam.engines.openvino import CPU as PROCESSOR
from streamcam.engines.openvino import OpenVinoEngine, dtypes
from streamcam.engines.tensorrt import PLAN, TensorRtEngine
from tests.diffusion.test_goldens import GOLDENS
from tests.engines.one_level import one_level_model
from tests.engines.test_tensorrt import CPU, NANO, SDXL, STAGES, calls_of, tensorrt
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
REFERENCE = ("tiny-sd", "tiny-sdxl")
BUILT_IN = {"nano": NANO, "sdxl": SDXL, "sdxl of one level": SDXL}
CASES = [
    ("eager", HALF, ("nano", *REFERENCE)),
    ("eager", BRAIN, ("nano", *REFERENCE)),
    ("openvino", FULL, ("nano", "sdxl")),
    ("openvino", BRAIN, ("nano", "sdxl")),
    # In float32 test_compiled holds a whole U-Net to the floor, and a small stage. A level more
    # has the same layers once more, and takes as long again to compile.
    ("compiled", BRAIN, ("nano", "sdxl of one level")),
    ("tensorrt", FULL, ("nano", "sdxl")),
    ("tensorrt", HALF, ("nano", "sdxl")),
    ("tensorrt", FLOAT8, ("nano", "sdxl")),
]


@cache
def calls(model: str, dtype: str) -> dict[str, tuple[FlatStage, list[Tensor]]]:
    """Return every stage of a model with its weights in `dtype`, and its inputs."""
    if model in REFERENCE:
        folder = GOLDENS / "models"
        if not (folder / model).is_dir():
            pytest.skip("the reference data is not next to this checkout")
        named = {"model": str(folder / model), "vae": str(folder / "tiny-taesd")}
        settings = EAGER | named | {"use_lcm_lora": False, "width": 64, "height": 64}
        return calls_of(settings | {"dtype": dtype})
    settings = BUILT_IN[model] | {"dtype": dtype}
    return calls_of(
        settings, one_level_model("tiny-sdxl-turbo", settings) if "one level" in model else None
    )


def stages_of(model: str) -> tuple[str, ...]:
    """Return the stages of a model, without those that nano or tiny-sd has too: an autoencoder."""
    return ("denoise",) if "sdxl" in model else STAGES


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
            if name == "tensorrt":
                assert_fixed_shapes(tmp_path / PLAN, inputs)
    checked = ("denoise",) if dtype == FLOAT8 else stages_of(model)
    assert tuple(reached) == checked
    # In float32 an export is exact.
    exact = name == "tensorrt" and dtype == FULL
    assert min(reached.values()) >= (100 if exact else MIN_PSNR[dtype])


def assert_fixed_shapes(onnx: Path, inputs: Sequence[Tensor]) -> None:
    """Fail unless the exported stage takes these very shapes: kernels are chosen for them."""
    taken = onnxruntime.InferenceSession(onnx.read_bytes()).get_inputs()
    assert [tensor.name for tensor in taken] == [f"input_{i}" for i in range(len(inputs))]
    assert [tuple(tensor.shape) for tensor in taken] == [tuple(t.shape) for t in inputs]


def layers(*models: str) -> Iterator[tuple[type[nn.Module], bool | None]]:
    """Yield the kind of every layer in all stages of these models."""
    for model in models:
        for flat, _ in calls(model, "float32").values():
            for layer in flat.modules():
                linear = vars(layer).get("use_linear_projection")
                yield type(layer), linear


@pytest.mark.parametrize("model", REFERENCE)
def test_a_model_of_the_reference_data_has_no_layers_that_the_built_in_ones_lack(
    model: str,
) -> None:
    assert {*layers(model)} <= {*layers("nano", "sdxl")}


def test_one_level_has_the_layers_of_more_save_what_nano_has() -> None:
    missing = {*layers("sdxl")} - {*layers("sdxl of one level", "nano")}
    # Its parts, attention and residual blocks, are in the others.
    assert {kind.__name__ for kind, _ in missing} == {"CrossAttnUpBlock2D"}
