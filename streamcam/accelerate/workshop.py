"""Where engines come from: kept ones are fetched, missing ones built by another process.

Building takes long and may end the process that does it, as native libraries can.
"""

import threading
from collections.abc import Callable, Iterable
from queue import Queue
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.accelerate.engines import Engine
from streamcam.accelerate.flat import Flat, Run, Signature, Stage, leaves_of
from streamcam.accelerate.identity import identity, key_of, weights_of
from streamcam.accelerate.precision import TooFarOff, check
from streamcam.accelerate.store import Entry, Store
from streamcam.errors import EngineError, in_one_line

Say = Callable[[str], None]
Builder = Callable[[], Iterable[str]]
"""Builds every engine of the stream in another process; gives the lines that one says."""


class Order(NamedTuple):
    """An engine that a stage waits for."""

    flat: Flat
    inputs: list[Tensor]
    identity: dict[str, Any]
    deliver: Callable[[Run], None]

    @property
    def key(self) -> str:
        return key_of(self.identity)


class Accelerated:
    """A stage that runs on an engine where one is ready, and as it is written until then.

    An engine is for one set of shapes: the first call with new ones sees to theirs. Tensors that
    a call was given must not be written to afterwards, as an engine may go by them again.
    """

    def __init__(self, stage: nn.Module, workshop: "Workshop") -> None:
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


class Workshop:
    """Equips the stages of one stream with engines of one kind."""

    def __init__(
        self, engine: Engine, store: Store, say: Say, *, builder: Builder | None, waits: bool
    ) -> None:
        """Take what builds missing engines, None to build them here.

        Where it `waits`, a stage's first call does so until its engine is there, else the stage
        runs as it is written meanwhile.
        """
        self._engine = engine
        self._store = store
        self._say = say
        self._builds_here = builder is None
        self._builder = builder
        self._waits = waits
        self._orders: Queue[Order] = Queue()
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
        made_of = identity(flat.stage, weights, inputs, self._engine)
        order = Order(flat, inputs, made_of, deliver)
        kept = self._store.find(order.key)
        if kept is not None:
            self._fulfil(order, kept)
        elif self._builds_here:
            self._build(order)
            self._fulfil(order, self._store.find(order.key))
        elif self._waits:
            self._attend(order)
        else:
            self._queue(order)

    def _build(self, order: Order) -> None:
        name = _name(order)
        self._say(f"building the {name}, once for this model, size and machine")
        about: dict[str, Any] = {"identity": order.identity}
        try:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
                self._store.making(order.key, about) as folder,
            ):
                self._engine.build(order.flat, order.inputs, folder)
                run = self._engine.load(folder)
                about["psnr"] = check(run, order.flat, order.inputs, self._engine.dtype)
        except TooFarOff as refusal:
            # Remembered, so that the next start does not try again.
            with self._store.making(order.key, about | {"refused": str(refusal)}):
                pass
        except Exception as error:  # Whatever it is, the stage runs without.
            self._say(f"the {name} cannot be built: {in_one_line(error)}")

    def _fulfil(self, order: Order, kept: Entry | None) -> None:
        name = _name(order)
        if kept is None:
            self._say(f"there is no {name}; going on without it")
            return
        if refused := kept.manifest.get("refused"):
            self._say(f"the {name} is refused: {refused}; going on without it")
            return
        try:
            run = self._engine.load(kept.folder)
            with torch.inference_mode():
                run(*order.inputs)  # The first call of an engine is slow.
        except Exception as error:
            self._say(
                f"the {name} cannot be used: {in_one_line(error)}; going on without it; build it"
                f' anew after "streamcam engines remove {kept.key}"'
            )
            return
        order.deliver(run)
        how = "is ready" if self._builds_here else "runs"
        self._say(f"the {name} {how}, {kept.manifest['psnr']:.0f} dB against float32")

    def _attend(self, order: Order) -> None:
        """Have an engine built, unless it has been since it was ordered, and deliver it."""
        kept = self._store.find(order.key)
        if kept is None:
            self._have_built()
            kept = self._store.find(order.key)
        self._fulfil(order, kept)

    def _have_built(self) -> None:
        # Once: what a stream calls for is built in one go, or cannot be.
        builder, self._builder = self._builder, None
        if builder is None:
            return
        try:
            for line in builder():
                self._say(line)
        except EngineError as error:
            self._say(str(error))

    # ---- the thread that waits for engines while the picture goes on

    def _queue(self, order: Order) -> None:
        self._orders.put(order)
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="engines", daemon=True)
            self._thread.start()

    def _serve(self) -> None:
        while True:
            self._attend(self._orders.get())


def _name(order: Order) -> str:
    return f"{order.identity['engine']} engine of {order.identity['stage'].lower()}"
