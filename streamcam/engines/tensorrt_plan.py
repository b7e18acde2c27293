"""Build a plan, TensorRT's own file, from an ONNX file; report progress, keep what was timed."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from streamcam.engines.build_progress import Report
from streamcam.engines.store import TIMINGS
from streamcam.engines.tensorrt_library import Library, logger_of
from streamcam.errors import EngineError, one_line

MEMORY_SHARE = 0.5
"""Of the GPU's free memory, the most that a build may use at a time: a stream may be running."""
TUNED_LEVEL = 5
"""The highest of the builder's levels of optimisation; the default is 3."""


class PlanRequest(NamedTuple):
    """Everything that a plan is built from."""

    model: Path
    """An ONNX file."""
    dtype: torch.dtype
    device: torch.device
    tuned: bool
    """Whether to search longer for faster kernels."""
    timings: Path | None
    """File of the times of kernels that were measured before, and will be after."""


def build_plan(library: Library, request: PlanRequest, on_step: Report) -> Any:
    """Return the plan of an ONNX file, as a buffer.

    Raises:
        EngineError: the library cannot parse the model, or cannot build it.
        KeyboardInterrupt: so does Ctrl-C, which ends the build.
    """
    module = library.load()
    logger = logger_of(library).cleared()
    builder = module.Builder(logger)
    strongly_typed = 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = module.OnnxParser(network, logger)
    if not parser.parse_from_file(str(request.model)):
        error = parser.get_error(0)
        reason = one_line(EngineError(f"{error.node_operator()}: {error.desc()}"))
        raise EngineError(f"{library.title} cannot read the stage: {reason}")
    config = builder_config(library, builder, request)
    # Held here: the library holds neither.
    cache = _timing_cache(config, request.timings)
    monitor = _progress_monitor(module, on_step)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor.interrupted_by:
        raise monitor.interrupted_by
    if plan is None:
        raise EngineError(f"{library.title} cannot build the stage: {logger.first_error()}")
    if cache is not None and request.timings is not None:
        replace_file(request.timings, bytes(memoryview(cache.serialize())))
    return plan


def timings_file(folder: Path, facts: Mapping[str, str]) -> Path:
    """Return the file in `folder` for times of kernels on the machine that `facts` describe."""
    text = "\n".join(f"{name}: {fact}" for name, fact in sorted(facts.items()))
    return folder / TIMINGS.format(hashlib.sha256(text.encode()).hexdigest()[:16])


def builder_config(library: Library, builder: Any, request: PlanRequest) -> Any:
    module = library.load()
    config = builder.create_builder_config()
    if request.dtype == torch.float32:
        # On by default: products with ten bits of mantissa are not float32.
        config.clear_flag(module.BuilderFlag.TF32)
    # All kernels on the caller's stream, one after another: it may be recording a CUDA graph.
    config.max_aux_streams = 0
    if not library.times_kernels and hasattr(module.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        # Without memory allocated in a call, which no CUDA graph can record.
        config.set_flag(module.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if request.tuned and library.times_kernels:
        config.builder_optimization_level = TUNED_LEVEL
    if request.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(request.device)
        limit = int(free * MEMORY_SHARE)
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, limit)
        config.set_memory_pool_limit(module.MemoryPoolType.TACTIC_DRAM, limit)
    return config


def _timing_cache(config: Any, file: Path | None) -> Any:
    """Attach the times in `file` to a builder's config, none if they are of another machine."""
    if file is None:
        return None
    stored = b""
    with suppress(OSError):  # There is none yet.
        stored = file.read_bytes()
    for content in dict.fromkeys((stored, b"")):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    return None


def replace_file(file: Path, content: bytes) -> None:
    """Write `file` at once or not at all; a full disk costs time at the next build, and no more."""
    with suppress(OSError):
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}")
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
            Path(name).replace(file)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def _progress_monitor(module: Any, on_step: Report) -> Any:
    """Return a monitor that reports how much of a build is done, and stops it on Ctrl-C."""

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self._phases: dict[str, tuple[int, int]] = {}
            self.interrupted_by: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            self._phases[phase_name] = (0, num_steps)
            self._report()

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._phases:
                self._phases[phase_name] = (step + 1, self._phases[phase_name][1])
            self._report()
            return self.interrupted_by is None

        def phase_finish(self, phase_name: str) -> None:
            self._phases.pop(phase_name, None)

        def _report(self) -> None:
            done, share = 0.0, 1.0
            # From the outermost phase to the innermost: each is one step of the one around it.
            for steps, all_steps in self._phases.values():
                done += share * steps / max(1, all_steps)
                share /= max(1, all_steps)
            try:
                on_step(f"choosing kernels, {min(done, 1.0):.0%}")
            except BaseException as error:  # An exception must not pass through the library.
                self.interrupted_by = error

    return Monitor()
