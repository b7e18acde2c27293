"""NVIDIA's own parser and compiler on what is exported: they need no GPU, running it does.

TensorRT for RTX is TensorRT's compiler as a library of its own, with the same Python API, which
builds for GPUs that are not there. ``make test-tensorrt`` installs it; it is not free software.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from streamcam.engines.dtypes import FLOAT8, name_of
from streamcam.engines.tensorrt import PLAN, TensorRtEngine
from streamcam.engines.tensorrt_library import TENSORRT_RTX
from streamcam.errors import EngineError
from tests.engines.test_tensorrt import CPU, NANO, SDXL, STAGES, calls_of, flat_of

pytestmark = pytest.mark.skipif(
    not find_spec("tensorrt_rtx"), reason='needs "make test-tensorrt": NVIDIA\'s, and not free'
)
RTX_40, RTX_30 = "SM89", "SM86"


def compiler(monkeypatch: pytest.MonkeyPatch, gpu: str) -> None:
    """Let it build for `gpu`, which is not there."""
    import tensorrt_rtx

    real: Any = tensorrt_rtx.Builder

    class Builder(real):  # type: ignore[misc]
        def create_builder_config(self) -> Any:
            config = real.create_builder_config(self)
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(tensorrt_rtx.ComputeCapability, gpu), 0)
            return config

    monkeypatch.setattr(tensorrt_rtx, "Builder", Builder)


@pytest.mark.parametrize(
    ("settings", "names"), [(NANO, STAGES), (SDXL, ["denoise"])], ids=["nano", "sdxl"]
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, FLOAT8])
def test_it_compiles_every_stage(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: dict[str, Any],
    names: Sequence[str],
    dtype: torch.dtype,
) -> None:
    compiler(monkeypatch, RTX_40)
    engine = TensorRtEngine(CPU, dtype, TENSORRT_RTX)
    calls = calls_of(settings | {"dtype": name_of(engine.weights_dtype)})
    for name in names:
        flat, inputs = calls[name]
        if engine.supports(flat):
            engine.build(flat, inputs, tmp_path)
            assert (tmp_path / PLAN).stat().st_size > 10_000


def test_float8_is_compiled_and_refused_for_gpus_without_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flat, inputs = calls_of(NANO | {"dtype": "float16"})["denoise"]
    compiler(monkeypatch, RTX_30)
    TensorRtEngine(CPU, torch.float16, TENSORRT_RTX).build(flat, inputs, tmp_path)
    with pytest.raises(EngineError, match=r"cannot build the stage: .*fp8_e4m3"):
        TensorRtEngine(CPU, FLOAT8, TENSORRT_RTX).build(flat, inputs, tmp_path)


class Unread(nn.Module):
    """A stage with something in it that TensorRT does not read."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.det(x)


def test_a_parser_error_is_reported_with_its_own_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler(monkeypatch, RTX_40)
    flat, inputs = flat_of(Unread(), (torch.ones(1, 2, 4, 4),))
    with pytest.raises(EngineError, match="cannot read the stage: Det: "):
        TensorRtEngine(CPU, torch.float32, TENSORRT_RTX).build(flat, inputs, tmp_path)


def test_an_invalid_plan_is_reported_with_its_own_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler(monkeypatch, RTX_40)
    (tmp_path / PLAN).write_bytes(b"not a plan")
    with pytest.raises(EngineError, match=r"cannot load its plan: \S+"):
        TensorRtEngine(CPU, torch.float32, TENSORRT_RTX).load(tmp_path)
