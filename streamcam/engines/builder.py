"""Engines for the stages of one stream: loaded from the store, or built by a child process.

Building takes long, and may end the process that does it, as native libraries can.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from queue import Queue
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.engines.cache_key import cache_key, hash_key, hash_weights
from streamcam.engines.dtypes import INT8
from streamcam.engines.eager import EagerEngine
from streamcam.engines.engine import Engine
from streamcam.engines.flat_stage import (
    FlatForward,
    FlatStage,
    Rehearsal,
    Signature,
    Stage,
    flatten_args,
)
from streamcam.engines.stage_build import BuildRequest, Report, StageBuild, load_engine
from streamcam.engines.store import Entry, Store
from streamcam.errors import StreamcamError, one_line
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

Builder = Callable[[], Iterable[str]]
"""Builds every engine of the stream in a child process; yields the lines that it prints."""


class WeightsSource(NamedTuple):
    """Origin of the weights of all stages."""

    settings: str
    """Hash of the settings and the versions that they depend on."""
    files: str | None
    """Identity of the files that they are read from; None where these have just changed."""


class AcceleratedStage:
    """A stage that runs on an engine once one is ready, and as it is written until then.

    An engine is for one set of shapes: the first call with new shapes requests one for them.
    On a CPU the tensors of a call must not be written to afterwards, as an engine may read them
    again; on a GPU the next call may find its values in the same memory.
    """

    def __init__(self, stage: nn.Module, builder: "EngineBuilder") -> None:
        self.stage = stage
        self._builder = builder
        self._runs: dict[Signature, FlatForward] = {}
        self._weights_hash: str | None = None
        self._flat: dict[Signature, tuple[FlatStage, list[Tensor]]] = {}

    def engine_keys(self) -> dict[Signature, list[tuple[int, str]]]:
        """Return the engines to try for each kind of call so far: their numbers and their keys."""
        return {
            signature: self._builder.keys(*flat, self._weights_hash)
            for signature, flat in self._flat.items()
            if self._weights_hash is not None
        }

    def __call__(self, *args: Any) -> Tensor:
        """Run the stage."""
        tensors, signature, structure = flatten_args(args)
        if signature not in self._runs:
            present = [leaf is not None for leaf in signature]
            flat = FlatStage(self.stage, structure, present, self._builder.rehearsal)
            self._runs[signature] = flat
            self._request_engine(flat, tensors, signature)
        return self._runs[signature](*tensors)

    def _request_engine(self, flat: FlatStage, tensors: list[Tensor], signature: Signature) -> None:
        self._weights_hash = self._weights_hash or self._builder.weights_hash(self.stage)

        self._flat[signature] = flat, [tensor.to("meta") for tensor in tensors]

        def activate(run: FlatForward) -> None:
            if self._runs[signature] is not run:
                # One assignment: a call runs on the old one or on the new one.
                self._runs[signature] = run
                # Only then: who sees the new number must find the new one.
                self._builder.revision += 1

        self._builder.request(flat, tensors, self._weights_hash, activate)


class EngineBuilder:
    """Gives the stages of a stream their engines; without one they run as written, or in float32.

    A stage whose weights are in less than float32 runs as written only where it is accurate enough.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        store: Store,
        report: Report,
        *,
        builder: Builder | None,
        waits: bool,
        tunes: bool = False,
        source: WeightsSource | None = None,
        rehearsal: Rehearsal | None = None,
    ) -> None:
        """Set up the engines to try.

        Args:
            engines: in the order of preference.
            store: holds the engines that were built before.
            report: takes lines for the user.
            builder: builds the engines in a child process; None to build them in this one.
            waits: whether a stage's first call waits until its engine is there; otherwise the
                stage runs as it is written meanwhile.
            tunes: whether to search longer for fast kernels, where an engine can.
            source: what the weights come from, if that is known: their hash is then remembered.
            rehearsal: where engines are built here, the calls to quantise stages on.
        """
        self.rehearsal = rehearsal
        self._source = source
        self._engines = engines
        self._store = store
        self._report = report
        self._builds_here = builder is None
        self._builder = builder
        self._waits = waits
        self._tunes = tunes
        self._stages: list[nn.Module] = []
        self._stage_build = StageBuild(store, report, self._stages)
        self.revision = 0
        """How often a stage has changed what it runs on: calls recorded before are out of date."""
        self._requests: Queue[BuildRequest] = Queue()
        self._thread: SupervisedThread | None = None

    def __call__(self, stage: nn.Module) -> Stage:
        """Return `stage`, accelerated."""
        self._stages.append(stage)
        return AcceleratedStage(stage, self)

    def keys(
        self, flat: FlatStage, inputs: list[Tensor], weights_hash: str
    ) -> list[tuple[int, str]]:
        """Return the numbers of the engines to try for a stage, and the keys of their files."""
        return [
            (number, hash_key(cache_key(flat.stage, weights_hash, inputs, engine)))
            for number, engine in enumerate(self._engines)
            if engine.supports(flat)
        ]

    def weights_hash(self, stage: nn.Module) -> str:
        """Return the SHA-256 of the weights of `stage`, remembered while its files are the same."""
        if self._source is None:
            return hash_weights(stage)
        # There may be several of one type, each with a name of its own.
        name = f"{type(stage).__name__} {stage.extra_repr()} of {self._source.settings}"
        remembered = self._store.hashes.recall(name, self._source.files)
        if remembered:
            return remembered
        sha256 = hash_weights(stage)
        self._store.hashes.remember(name, self._source.files, sha256)
        return sha256

    def request(
        self,
        flat: FlatStage,
        tensors: list[Tensor],
        weights_hash: str,
        activate: Callable[[FlatForward], None],
    ) -> None:
        """Call `activate` with an engine of `flat` for these tensors: at once, later, or never."""
        with torch.inference_mode(False):
            # Those of a warm-up are inference tensors, which nothing can be built with.
            inputs = [tensor.clone(memory_format=torch.contiguous_format) for tensor in tensors]
        request = BuildRequest(flat, inputs, weights_hash, activate)
        if not self._resolve(request, may_build=self._builds_here or self._waits):
            self._build_in_background(request)

    def _resolve(self, request: BuildRequest, *, may_build: bool) -> bool:
        """Activate the first engine that can be used, or none; return whether that is decided.

        It is not while an engine is missing and this call may not build it.
        """
        for engine in self._engines:
            if not engine.supports(request.flat):
                continue
            key = hash_key(request.cache_key(engine))
            entry = self._store.find(key)
            if entry is None:
                if not may_build:
                    return False
                self._build(request, engine, key)
                entry = self._store.find(key)
            if entry is not None and self._tunes:
                self._stage_build.tune(request, engine, entry)
                entry = self._store.find(key)
            if self._activate(request, engine, entry):
                return True
        if not request.flat.is_float32:
            request.activate(request.flat.in_float32())
            self._report(f"{request.stage_name} runs in float32 instead, which is slower")
        return True

    def _build(self, request: BuildRequest, engine: Engine, key: str) -> None:
        # A stage as it is written cannot end this process; but on air its check would be felt.
        if self._builds_here or (self._waits and isinstance(engine, EagerEngine)):
            self._stage_build.build(request, engine, key)
        else:
            self._build_in_child()

    def _activate(self, request: BuildRequest, engine: Engine, entry: Entry | None) -> bool:
        """Load the stored engine `entry` and activate it; return whether that could be done."""
        name = request.engine_name(engine)
        if entry is None:
            unchecked = isinstance(engine, EagerEngine)
            self._report(
                f"the {name} could not be checked; it is used all the same"
                if unchecked
                else f"there is no {name}; continuing without it"
            )
            return unchecked
        if refused := entry.manifest.get("refused"):
            self._report(f"the {name} is refused: {refused}; continuing without it")
            return False
        try:
            accuracy: float = entry.manifest["psnr"]
            run = load_engine(engine, entry.folder, request.flat)
            if run is not request.flat:
                with torch.inference_mode():
                    run(*request.inputs)  # The first call of an engine is slow.
        except Exception as error:
            self._report(
                f"the {name} cannot be used: {one_line(error)}; continuing without it; to build it"
                f' again, run "streamcam engines remove {entry.key}"'
            )
            return False
        request.activate(run)
        if self.rehearsal and engine.dtype == INT8:
            # The images of the stages after it are judged with all that has been accepted.
            self.rehearsal.accept(request.flat.stage, run)
        state = "is ready" if self._builds_here else "runs"
        self._report(f"the {name} {state}, {accuracy:.0f} dB against float32")
        return True

    def _build_in_child(self) -> None:
        # Only once: one child builds all that a stream calls for, or cannot.
        builder, self._builder = self._builder, None
        if builder is None:
            return
        try:
            for line in builder():
                self._report(line)
        except StreamcamError as error:
            self._report(str(error))

    # ---- the thread that waits for engines while the stream runs

    @property
    def is_settled(self) -> bool:
        """Whether no stage waits for an engine any more."""
        return not self._requests.unfinished_tasks

    def _build_in_background(self, request: BuildRequest) -> None:
        self._requests.put(request)
        if self._thread is None:
            thread = SupervisedThread("engines", self._build_loop, threading.Event())
            try:
                thread.start()
            except StreamcamError as error:
                self._report(f"no engine for {request.stage_name} yet: {error}")
            else:
                self._thread = thread

    def _build_loop(self) -> None:
        while True:
            request = self._requests.get()
            # Whatever is raised, by the report of it too: the stage runs on as it is, and the
            # requests after this one are still served.
            try:
                self._resolve_or_report(request)
            except Exception:
                log.exception("no engine for %s", request.stage_name)
            finally:
                self._requests.task_done()

    def _resolve_or_report(self, request: BuildRequest) -> None:
        try:
            self._resolve(request, may_build=True)
        except Exception as error:
            self._report(f"no engine for {request.stage_name}: {one_line(error)}")
