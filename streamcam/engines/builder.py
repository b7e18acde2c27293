"""Where engines come from: kept ones are fetched, missing ones built by another process.

Building takes long and may end the process that does it, as native libraries can.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from queue import Queue
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.engines.accuracy import TooFarOff, check
from streamcam.engines.cache_key import cache_key, key_of, weights_of
from streamcam.engines.dtypes import FLOAT8, name_of
from streamcam.engines.eager import Eager
from streamcam.engines.engine import Engine
from streamcam.engines.flat_stage import Flat, Run, Signature, Stage, leaves_of
from streamcam.engines.store import Entry, Store
from streamcam.errors import EngineError, one_line

Report = Callable[[str], None]
Builder = Callable[[], Iterable[str]]
"""Builds every engine of the stream in another process; gives the lines that one says."""


class BuildRequest(NamedTuple):
    """A stage that waits for an engine, for calls of one set of shapes."""

    flat: Flat
    inputs: list[Tensor]
    weights: str
    deliver: Callable[[Run], None]

    @property
    def stage(self) -> str:
        return type(self.flat.stage).__name__.lower()

    def cache_key(self, engine: Engine) -> dict[str, Any]:
        return cache_key(self.flat.stage, self.weights, self.inputs, engine)


class Accelerated:
    """A stage that runs on an engine where one is ready, and as it is written until then.

    An engine is for one set of shapes: the first call with new ones sees to theirs. Tensors that
    a call was given must not be written to afterwards, as an engine may go by them again.
    """

    def __init__(self, stage: nn.Module, workshop: "EngineBuilder") -> None:
        self.stage = stage
        self._workshop = workshop
        self._runs: dict[Signature, Run] = {}
        self._weights: str | None = None

    def __call__(self, *args: Any) -> Tensor:
        """Run the stage."""
        tensors, signature, structure = leaves_of(args)
        if signature not in self._runs:
            flat = Flat(self.stage, structure, [given is not None for given in signature])
            self._runs[signature] = flat
            self._equip(flat, tensors, signature)
        return self._runs[signature](*tensors)

    def _equip(self, flat: Flat, tensors: list[Tensor], signature: Signature) -> None:
        self._weights = self._weights or weights_of(self.stage)

        def deliver(run: Run) -> None:
            # One assignment: a call runs on the old one or on the new one.
            self._runs[signature] = run

        self._workshop.equip(flat, tensors, self._weights, deliver)


class EngineBuilder:
    """Equips the stages of one stream: with an engine, else as they are written, else in float32.

    A stage whose weights are in less than float32 computes so only where it comes near enough.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        store: Store,
        report: Report,
        *,
        builder: Builder | None,
        waits: bool,
    ) -> None:
        """Take engines in the order of preference, and what builds them, None to build them here.

        Where it `waits`, a stage's first call does so until its engine is there, else the stage
        runs as it is written meanwhile.
        """
        self._engines = engines
        self._store = store
        self._report = report
        self._builds_here = builder is None
        self._builder = builder
        self._waits = waits
        self._orders: Queue[BuildRequest] = Queue()
        self._thread: threading.Thread | None = None

    def __call__(self, stage: nn.Module) -> Stage:
        """Return `stage`, accelerated."""
        return Accelerated(stage, self)

    def equip(
        self, flat: Flat, tensors: list[Tensor], weights: str, deliver: Callable[[Run], None]
    ) -> None:
        """Deliver an engine of `flat` for calls with `tensors`: at once, later, or never."""
        with torch.inference_mode(False):
            # Those of a warm-up are inference tensors, which nothing can be built with.
            inputs = [tensor.clone(memory_format=torch.contiguous_format) for tensor in tensors]
        order = BuildRequest(flat, inputs, weights, deliver)
        if not self._serve(order, builds=self._builds_here or self._waits):
            self._queue(order)

    def _serve(self, order: BuildRequest, *, builds: bool) -> bool:
        """Deliver the first of the engines that can be used; return whether all is decided.

        It is not where one is missing and this call is not the one that `builds`.
        """
        for engine in self._engines:
            if not engine.takes(order.flat):
                continue
            key = key_of(order.cache_key(engine))
            kept = self._store.find(key)
            if kept is None:
                if not builds:
                    return False
                self._make(order, engine, key)
                kept = self._store.find(key)
            if self._fulfil(order, engine, kept):
                return True
        if not order.flat.is_exact:
            order.deliver(order.flat.exact())
            self._report(f"{order.stage} goes on in float32, which is slower")
        return True

    def _make(self, order: BuildRequest, engine: Engine, key: str) -> None:
        # Nothing of a stage as it is written can end this process; only on air it would be felt.
        if self._builds_here or (self._waits and isinstance(engine, Eager)):
            self._build(order, engine, key)
        else:
            self._have_built()

    def _build(self, order: BuildRequest, engine: Engine, key: str) -> None:
        name = _name(order, engine)
        if not isinstance(engine, Eager):
            self._report(f"building the {name}, once for this model, size and machine")
        about: dict[str, Any] = {"identity": order.cache_key(engine)}
        try:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
                self._store.making(key, about) as folder,
            ):
                engine.build(order.flat, order.inputs, folder)
                run = engine.load(folder) or order.flat
                about["psnr"] = check(run, order.flat, order.inputs, engine.dtype)
        except TooFarOff as refusal:
            # Remembered, so that the next start does not try again.
            with self._store.making(key, about | {"refused": str(refusal)}):
                pass
        except Exception as error:  # Whatever it is, the stage runs without.
            self._report(f"the {name} cannot be built: {one_line(error)}")

    def _fulfil(self, order: BuildRequest, engine: Engine, kept: Entry | None) -> bool:
        """Deliver what is `kept` of an engine; return whether that could be done."""
        name = _name(order, engine)
        if kept is None:
            checked = not isinstance(engine, Eager)
            self._report(
                f"there is no {name}; going on without it"
                if checked
                else f"the {name} could not be checked; going on in it"
            )
            return not checked
        if refused := kept.manifest.get("refused"):
            self._report(f"the {name} is refused: {refused}; going on without it")
            return False
        try:
            run = engine.load(kept.folder) or order.flat
            if run is not order.flat:
                with torch.inference_mode():
                    run(*order.inputs)  # The first call of an engine is slow.
        except Exception as error:
            self._report(
                f"the {name} cannot be used: {one_line(error)}; going on without it; build it"
                f' anew after "streamcam engines remove {kept.key}"'
            )
            return False
        order.deliver(run)
        how = "is ready" if self._builds_here else "runs"
        self._report(f"the {name} {how}, {kept.manifest['psnr']:.0f} dB against float32")
        return True

    def _have_built(self) -> None:
        # Once: what a stream calls for is built in one go, or cannot be.
        builder, self._builder = self._builder, None
        if builder is None:
            return
        try:
            for line in builder():
                self._report(line)
        except EngineError as error:
            self._report(str(error))

    # ---- the thread that waits for engines while the picture goes on

    def _queue(self, order: BuildRequest) -> None:
        self._orders.put(order)
        if self._thread is None:
            self._thread = threading.Thread(target=self._attend, name="engines", daemon=True)
            self._thread.start()

    def _attend(self) -> None:
        while True:
            self._serve(self._orders.get(), builds=True)


def _name(order: BuildRequest, engine: Engine) -> str:
    if isinstance(engine, Eager):
        return f"{name_of(engine.dtype)} of {order.stage}"
    # The one format in which an engine stands before another of its kind.
    kind = f"{engine.name} float8" if engine.dtype == FLOAT8 else engine.name
    return f"{kind} engine of {order.stage}"
