"""Compile stages ahead of time with torch's Inductor, so that nothing is compiled on air."""

import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.engines.build_progress import Report
from streamcam.engines.compiler_cache import keep_headers
from streamcam.engines.cuda_toolkit import cuda_for_compilers
from streamcam.engines.device_info import device_fingerprint
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.engines.shared_weights import Constants
from streamcam.engines.tensor_alignment import aligned

PACKAGE = "engine.pt2"


class CompiledEngine:
    """Compiles stages with AOTInductor.

    Args:
        device: to run on.
        dtype: to compute in.
        shares_weights: whether an engine runs on the weights of the stage, which are in memory
            anyway, and holds none itself. By default it does on a GPU; on a CPU the weights are
            laid out for its kernels, and stored with them.
    """

    name = "compiled"

    def __init__(
        self, device: torch.device, dtype: torch.dtype, *, shares_weights: bool | None = None
    ) -> None:
        self.device = device
        self.dtype = self.weights_dtype = dtype
        self.on_step: Report = lambda _: None
        self._shares_weights = device.type != "cpu" if shares_weights is None else shares_weights

    def supports(self, flat: FlatStage) -> bool:  # noqa: ARG002
        return True

    def fingerprint(self) -> Mapping[str, str]:
        weights = "of the stage" if self._shares_weights else "in the engine"
        return {"weights": weights} | dict(device_fingerprint(self.device))

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        self._build(flat, inputs, folder, {})

    def build_tuned(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        """Build as `build` does, but try many kernels for each operation: that takes minutes."""
        self._build(flat, inputs, folder, {"max_autotune": True, "coordinate_descent_tuning": True})

    def load(self, folder: Path) -> FlatForward:
        """Return the engine in `folder`; one that shares weights is loaded with `load_for`."""
        assert not self._shares_weights, "load_for gives it the weights"
        return AlignedInputs(self._open(folder))

    def load_for(self, folder: Path, flat: FlatStage) -> FlatForward:
        """Return the engine in `folder`, running on the weights of `flat` where it shares them."""
        if not self._shares_weights:
            return self.load(folder)
        package = self._open(folder)
        constants = Constants.load(folder).on(flat, self.device)
        needed = {name: constants[name] for name in package.get_constant_fqns()}
        package.load_constants(needed, check_full_update=True, user_managed=True)
        return AlignedInputs(package, list(needed.values()))

    def _build(
        self,
        flat: FlatStage,
        inputs: Sequence[Tensor],
        folder: Path,
        settings: Mapping[str, Any],
    ) -> None:
        from torch._inductor import aoti_compile_and_package, config

        keep_headers()
        self.on_step("reading the model")
        with warnings.catch_warnings(action="ignore"):
            program = torch.export.export(flat, tuple(inputs))
        if self._shares_weights:
            Constants.own(program).save(folder)
        self.on_step("compiling")
        # Next to the engine until it is packed: in its cache torch would keep it, weights and all.
        with (
            warnings.catch_warnings(action="ignore"),  # They are meant for the authors of models.
            tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as scratch,
            config.patch({"aot_inductor.output_path": scratch}),
            self._compiler_settings(Path(scratch)),
        ):
            aoti_compile_and_package(
                program,
                package_path=str(folder / PACKAGE),
                inductor_configs=self._settings() | dict(settings),
            )

    def _compiler_settings(self, scratch: Path) -> AbstractContextManager[None]:
        if self.device.type == "cuda" and torch.version.hip is None:
            return cuda_for_compilers(scratch / "driver")
        return nullcontext()

    def _settings(self) -> dict[str, Any]:
        return {
            "freezing": not self._shares_weights,
            "aot_inductor.package_constants_in_so": not self._shares_weights,
            # Kernels in parallel; the process that builds has a low priority.
            "compile_threads": os.cpu_count() or 1,
            # Built with few threads while the stream runs, run with many.
            "cpp.dynamic_threads": True,
            # Decided by running on the device, which may be busy on air.
            "shape_padding": False,
            # Its tables of timings would go to the terminal.
            "autotune_num_choices_displayed": 0,
        }

    def _open(self, folder: Path) -> Any:
        from torch._inductor import aoti_load_package

        package = str(folder / PACKAGE)
        if self.device.type != "cuda":
            return aoti_load_package(package)
        # A package that several threads may run waits between its calls, which no CUDA graph can
        # record; this one launches its kernels on the current stream, and no more.
        return aoti_load_package(
            package, run_single_threaded=True, device_index=self.device.index or 0
        )


class AlignedInputs:
    """Makes the inputs contiguous and aligned, as those were that the engine was built with.

    Args:
        run: the engine.
        weights: tensors that it runs on; held here, as it holds only their addresses.
    """

    def __init__(self, run: FlatForward, weights: Sequence[Tensor] = ()) -> None:
        self._run = run
        self._weights = weights

    def __call__(self, *tensors: Tensor) -> Tensor:
        return self._run(*map(aligned, tensors))
