"""One rank of the ring: its layers, its status, and the commands of the first rank that it serves."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Call
from streamcam.video.device_memory import OutOfMemory, out_of_memory_errors, peak_memory
from streamcam.video.parallel.migration import LoadLayers, MigratingLayers
from streamcam.video.parallel.partition import Partition
from streamcam.video.parallel.transport import Header, RingTransport
from streamcam.video.wan import CausalWan


class RankStatus(NamedTuple):
    """How a rank fares, as of its last call."""

    fixed_s: float
    """Busy with what is not layers: the encoder and the decoder."""
    layers_s: float
    """Busy with its layers."""
    period_s: float
    """Since the call before; what it was not busy, it waited."""
    layers: int
    memory: int
    """Bytes at most, of the GPU, else of the process."""
    prepared: int
    """The newest version of the partition whose layers are all there."""

    @property
    def waiting_s(self) -> float:
        """Return the seconds that it had nothing to do."""
        return max(0.0, self.period_s - self.fixed_s - self.layers_s)


class RankLayers(MigratingLayers):
    """The layers of one rank, and how it fares."""

    def __init__(self, model: CausalWan, transport: RingTransport, load: LoadLayers) -> None:
        super().__init__(model, transport, load)
        self._transport = transport
        self._called_at = time.perf_counter()

    def status(self) -> RankStatus:
        """Return how it fares; ask once for each call."""
        self.adopt_loaded()
        taken, now = self.device_timer.pop_seconds(), time.perf_counter()
        period, self._called_at = now - self._called_at, now
        own = taken.pop("layers", 0.0)
        memory = peak_memory(self.model.device)
        layers = len(self._row_layers[0])
        return RankStatus(sum(taken.values()), own, period, layers, memory, self.prepared)


@torch.inference_mode()
def serve_calls(model: CausalWan, transport: RingTransport, load: LoadLayers) -> None:
    """Run this rank's layers for the calls that come by, until the first rank says stop.

    Raises:
        EngineError: a rank is gone.
    """
    rank = RankLayers(model, transport, load)
    to_first = transport.rank == transport.ranks - 1
    while True:
        header, tensor = transport.receive()
        if header["command"] == "run":
            transport.send(header, None if tensor is None else _answer(rank, header, tensor))
            continue
        if not to_first:
            transport.send(
                header, tensor
            )  # First, since the others may have something to send here.
        if header["command"] == "stop":
            return
        HANDLERS[header["command"]](rank, header, tensor)


def _answer(rank: RankLayers, header: Header, tokens: Tensor) -> Tensor | None:
    """Return what the layers of a rank make of a call, and say in `header` how it fares."""
    try:
        with out_of_memory_errors():
            made = rank.run(Call(**header["call"]), tokens)
    except OutOfMemory as error:
        header["failed"] = str(error)
        return None
    header["ranks"].append(rank.status())
    return made


def _set_prompt(rank: RankLayers, _: Header, embeds: Tensor | None) -> None:
    assert embeds is not None
    rank.set_prompt(embeds)


HANDLERS: dict[str, Callable[[RankLayers, Header, Tensor | None], None]] = {
    "reset": lambda rank, header, _: rank.reset_on(
        header["rows"], CacheShape(*header["cache"]), partition_from_json(header["partition"])
    ),
    "set_prompt": _set_prompt,
    "copy_row": lambda rank, header, _: rank.copy_row(header["source"], header["rows"]),
    "prepare": lambda rank, header, _: rank.prepare(
        header["version"], partition_from_json(header["partition"])
    ),
    "migrate": lambda rank, header, _: rank.migrate(
        header["row"], partition_from_json(header["from"]), partition_from_json(header["to"])
    ),
}
"""What a rank that follows does on being told, beside running calls."""


def partition_to_json(partition: Partition) -> list[list[int]]:
    return [[own.start, own.stop] for own in partition]


def partition_from_json(cuts: list[list[int]]) -> Partition:
    return tuple(range(*own) for own in cuts)
