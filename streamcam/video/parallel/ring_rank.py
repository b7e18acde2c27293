"""One rank of the ring: its layers, its status, and the commands of the first rank."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.engines.device_memory import OutOfMemory, out_of_memory_errors, peak_memory
from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Call
from streamcam.video.parallel.migration import LoadLayers, MigratingLayers
from streamcam.video.parallel.partition import Partition
from streamcam.video.parallel.transport import Header, RingTransport
from streamcam.video.wan import CausalWan


class RankStatus(NamedTuple):
    """Time and memory that a rank used, as of its last call."""

    fixed_s: float
    """Seconds of device time in all but the layers: the encoder and the decoder."""
    layers_s: float
    """Seconds of device time in the layers."""
    period_s: float
    """Seconds since the previous call."""
    layers: int
    memory: int
    """Peak bytes, of the GPU, else of the process."""
    prepared: int
    """Newest version of the partition whose layers are all loaded."""

    @property
    def waiting_s(self) -> float:
        """Seconds in which the device had nothing to do."""
        return max(0.0, self.period_s - self.fixed_s - self.layers_s)


class RankLayers(MigratingLayers):
    """Layers of one rank, with its status."""

    def __init__(self, model: CausalWan, transport: RingTransport, load: LoadLayers) -> None:
        super().__init__(model, transport, load)
        self._transport = transport
        self._called_at = time.perf_counter()

    def status(self) -> RankStatus:
        """Return the status since the previous call; to be asked once for each call."""
        self.adopt_loaded()
        seconds, now = self.device_timer.pop_seconds(), time.perf_counter()
        period_s, self._called_at = now - self._called_at, now
        layers_s = seconds.pop("layers", 0.0)
        return RankStatus(
            fixed_s=sum(seconds.values()),
            layers_s=layers_s,
            period_s=period_s,
            layers=len(self._row_layers[0]),
            memory=peak_memory(self.model.device),
            prepared=self.prepared,
        )


@torch.inference_mode()
def serve_calls(model: CausalWan, transport: RingTransport, load: LoadLayers) -> None:
    """Run this rank's layers for every call of the first rank, until it sends ``stop``.

    Raises:
        EngineError: a rank is gone.
    """
    rank = RankLayers(model, transport, load)
    last = transport.rank == transport.ranks - 1
    while True:
        header, tensor = transport.receive()
        if header["command"] == "run":
            transport.send(header, None if tensor is None else _run(rank, header, tensor))
            continue
        if not last:
            # Pass it on before obeying, since the next ranks may have caches to send to this one.
            transport.send(header, tensor)
        if header["command"] == "stop":
            return
        HANDLERS[header["command"]](rank, header, tensor)


def _run(rank: RankLayers, header: Header, tokens: Tensor) -> Tensor | None:
    """Run the layers of a rank, and add its status, or that memory ran out, to `header`."""
    try:
        with out_of_memory_errors():
            output = rank.run(Call(**header["call"]), tokens)
    except OutOfMemory as error:
        header["failed"] = str(error)
        return None
    header["statuses"].append(rank.status())
    return output


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
        header["row"], partition_from_json(header["old"]), partition_from_json(header["new"])
    ),
}
"""Commands of the first rank other than ``run``."""


def partition_to_json(partition: Partition) -> list[list[int]]:
    """Return the start and stop of every range of a partition."""
    return [[layers.start, layers.stop] for layers in partition]


def partition_from_json(bounds: list[list[int]]) -> Partition:
    """Return the partition with these starts and stops."""
    return tuple(range(start, stop) for start, stop in bounds)
