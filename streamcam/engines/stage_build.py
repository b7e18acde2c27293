"""Building an engine for a stage into the store, and building it again with faster kernels."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.engines.accuracy import EngineRefusedError, check_accuracy, check_images
from streamcam.engines.build_failures import explained
from streamcam.engines.build_progress import BuildProgress, ReportsSteps
from streamcam.engines.cache_key import cache_key
from streamcam.engines.dtypes import FLOAT8, INT8, name_of
from streamcam.engines.eager import EagerEngine
from streamcam.engines.engine import Engine
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.engines.shared_weights import SharesWeights
from streamcam.engines.store import Entry, Store
from streamcam.engines.tuning import NotFasterError, Tunable, tune

Report = Callable[[str], None]


class BuildRequest(NamedTuple):
    """A stage that needs an engine, for calls of one set of shapes."""

    flat: FlatStage
    inputs: list[Tensor]
    weights_hash: str
    activate: Callable[[FlatForward], None]
    """Makes the stage run on what it is given, from the next call on."""

    @property
    def stage_name(self) -> str:
        return type(self.flat.stage).__name__.lower()

    def cache_key(self, engine: Engine) -> dict[str, Any]:
        return cache_key(self.flat.stage, self.weights_hash, self.inputs, engine)

    def engine_name(self, engine: Engine) -> str:
        """Return what messages call an engine of this stage."""
        if isinstance(engine, EagerEngine):
            return f"{name_of(engine.dtype)} of {self.stage_name}"
        # The dtypes in which an engine is tried before another of its kind.
        coarse = engine.dtype in (FLOAT8, INT8)
        kind = f"{engine.name} {name_of(engine.dtype)}" if coarse else engine.name
        return f"{kind} engine of {self.stage_name}"


class StageBuild:
    """Builds engines of the stages of one stream in this process."""

    def __init__(self, store: Store, report: Report, stages: Sequence[nn.Module]) -> None:
        """Build into `store`, with lines to `report`; `stages` are all those of the stream."""
        self._store = store
        self._report = report
        self._stages = stages

    def build(self, request: BuildRequest, engine: Engine, key: str) -> None:
        """Build `engine` and measure its accuracy, or note in the store that it is refused."""
        name = request.engine_name(engine)
        is_only_checked = isinstance(engine, EagerEngine)
        does = "checking" if is_only_checked else "building"
        task = f"{does} the {name} ({self._position(request)})"
        if not is_only_checked:
            self._report(f"{task}, once for this model, size and machine")
        try:
            with (
                self._progress(task, engine) as progress,
                torch.inference_mode(False),
                torch.no_grad(),
            ):
                self._build_into_store(request, engine, key, progress)
        except Exception as error:  # Whatever it is, the stage runs without.
            self._report(f"the {name} cannot be built: {explained(error)}")

    def _build_into_store(
        self, request: BuildRequest, engine: Engine, key: str, progress: BuildProgress
    ) -> None:
        manifest: dict[str, Any] = {"identity": request.cache_key(engine)}
        try:
            with self._store.create(key, manifest) as folder:
                engine.build(request.flat, request.inputs, folder)
                progress.step("measuring its accuracy")
                run = load_engine(engine, folder, request.flat)
                manifest["psnr"] = check_accuracy(run, request.flat, request.inputs, engine.dtype)
                if engine.dtype == INT8:
                    manifest["image_psnr"] = check_images(run, request.flat)
        except EngineRefusedError as error:
            # Stored, so that the next start does not try again.
            with self._store.create(key, manifest | {"refused": str(error)}):
                pass

    def tune(self, request: BuildRequest, engine: Engine, entry: Entry) -> None:
        """Build the engine `entry` again with faster kernels, if there are any."""
        name = request.engine_name(engine)
        if not isinstance(engine, Tunable):
            if not isinstance(engine, EagerEngine):
                self._report(f"the {name} has nothing to tune")
            return
        if "psnr" not in entry.manifest:
            return  # Refused.
        task = f"tuning the {name} ({self._position(request)})"
        self._report(f"{task}, which takes minutes")
        load = partial(load_engine, engine, flat=request.flat)
        try:
            with (
                self._progress(task, engine) as progress,
                torch.inference_mode(False),
                torch.no_grad(),
            ):
                speedup = tune(
                    engine, load, request.flat, request.inputs, entry, self._store, progress
                )
        except NotFasterError as error:
            self._report(
                f"tuning the {name} did not pay: {error.speedup:.2f} times as fast, so that the one"
                " before stays"
            )
        except Exception as error:
            self._report(f"the {name} cannot be tuned: {explained(error)}; the one before stays")
        else:
            self._report(f"the tuned {name} is {speedup:.2f} times as fast as the one before")

    def _progress(self, task: str, engine: Engine) -> BuildProgress:
        progress = BuildProgress(task, self._report)
        if isinstance(engine, ReportsSteps):
            engine.on_step = progress.step
        return progress

    def _position(self, request: BuildRequest) -> str:
        """Return which of the stages of this stream `request` is for."""
        return f"{self._stages.index(request.flat.stage) + 1} of {len(self._stages)}"


def load_engine(engine: Any, folder: Path, flat: FlatStage) -> FlatForward:
    """Return the engine in `folder`, or `flat` itself where that runs as it is written."""
    run = (
        engine.load_for(folder, flat) if isinstance(engine, SharesWeights) else engine.load(folder)
    )
    return run or flat
