"""OpenVINO: the fastest engine on most CPUs, and the only one on Intel GPUs."""

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamcam.engines.dtypes import INT8, name_of
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.errors import EngineError

if TYPE_CHECKING:
    import openvino

CPU, GPU = "CPU", "GPU"
BLOB = "engine.blob"
PRECISIONS = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16", INT8: "f32"}
"""OpenVINO's names of the dtypes; of int8 that of the layers which stay in float32."""
CAPABILITIES = {torch.float32: "FP32", torch.float16: "FP16", torch.bfloat16: "BF16"}
"""OpenVINO's names of the dtypes that a device computes in."""


class OpenVinoEngine:
    """Runs stages, whose weights are in float32, in the dtype that the device is set to."""

    name = "openvino"
    weights_dtype = torch.float32

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        """Check that `device`, by OpenVINO's own name, computes in `dtype`.

        Raises:
            EngineError: there is no such device, or it does not compute in `dtype`.
        """
        self.device = device
        self.dtype = dtype
        devices = _core().available_devices
        if not any(name.split(".")[0] == device for name in devices):
            raise EngineError(f"OpenVINO finds no {device}; found: {', '.join(devices)}")
        supported = [*dtypes(device), *([INT8] if device == CPU else [])]
        if dtype not in supported:
            raise EngineError(
                f"OpenVINO does not compute in {name_of(dtype)} on this {device}; choose --dtype"
                f" {' or '.join(map(name_of, supported))}"
            )

    def supports(self, flat: FlatStage) -> bool:  # noqa: ARG002
        return True

    def fingerprint(self) -> Mapping[str, str]:
        import openvino

        return self._quantizer() | {
            "openvino": openvino.__version__,
            "device": f"{self.device} {_core().get_property(self.device, 'FULL_DEVICE_NAME')}",
            "capabilities": " ".join(
                _core().get_property(self.device, "OPTIMIZATION_CAPABILITIES")
            ),
        }

    def _quantizer(self) -> dict[str, str]:
        return {"nncf": version("nncf")} if self.dtype == INT8 else {}

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        if self.dtype == INT8:
            from streamcam.engines.int8 import int8_model

            compiled = int8_model(
                lambda: _converted(flat, inputs), flat, self._compiled, _InferRequest
            )
        else:
            compiled = self._compiled(_converted(flat, inputs))
        (folder / BLOB).write_bytes(compiled.export_model().getvalue())

    def _compiled(self, model: "openvino.Model") -> "openvino.CompiledModel":
        return _core().compile_model(model, self.device, self._settings())

    def load(self, folder: Path) -> FlatForward:
        blob = BytesIO((folder / BLOB).read_bytes())
        return _InferRequest(_core().import_model(blob, self.device, self._settings()))

    def _settings(self) -> dict[str, Any]:
        # Files do not store these: loaded without a precision, the device takes its own.
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": PRECISIONS[self.dtype],
        }
        if self.device == CPU and PRECISIONS[self.dtype] == "f32":
            # Its fused attention ends the whole process in float32 (seen with 2026.4).
            settings["SNIPPETS_MODE"] = "DISABLE"
        if self.device == CPU:
            # Pinned threads would slow the process that viewers depend on.
            settings["ENABLE_CPU_PINNING"] = False
            settings["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
        return settings


def _converted(flat: FlatStage, inputs: Sequence[Tensor]) -> "openvino.Model":
    """Return `flat` as OpenVINO's model, for the shapes of `inputs`."""
    import openvino

    with warnings.catch_warnings():
        # The warnings of tracing are meant for the authors of the model.
        warnings.simplefilter("ignore")
        model = openvino.convert_model(flat, example_input=tuple(inputs))
    model.reshape({i: list(tensor.shape) for i, tensor in enumerate(inputs)})
    return model


class _InferRequest:
    """Runs one inference at a time, on the memory of the tensors themselves."""

    def __init__(self, compiled: "openvino.CompiledModel") -> None:
        self._request = compiled.create_infer_request()
        self._previous: list[Tensor | None] = [None] * len(compiled.inputs)
        self._contiguous: list[Tensor] = [torch.empty(0)] * len(compiled.inputs)

    def __call__(self, *tensors: Tensor) -> Tensor:
        for i, tensor in enumerate(tensors):
            # A prompt for all rows is one row expanded: made contiguous once, not once a frame.
            if tensor is not self._previous[i]:
                self._previous[i], self._contiguous[i] = tensor, tensor.contiguous()
        arrays = [tensor.numpy() for tensor in self._contiguous]
        results = self._request.infer(arrays, share_inputs=True, share_outputs=True)
        # The next call overwrites the engine's own memory.
        return torch.from_numpy(results[0]).clone()


def dtypes(device: str) -> list[torch.dtype]:
    """Return the dtypes that OpenVINO computes in on a `device` of this machine."""
    capabilities = _core().get_property(device, "OPTIMIZATION_CAPABILITIES")
    return [dtype for dtype, name in CAPABILITIES.items() if name in capabilities]


@cache
def _core() -> "openvino.Core":
    import openvino

    return openvino.Core()
