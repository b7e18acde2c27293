"""Pipeline parallelism over a ring of devices, each with some of the transformer's layers.

A call goes from rank to rank and its flow comes back to the first rank, which alone denoises;
meanwhile the next calls follow behind it (StreamDiffusionV2, section 4). A hop is one message of
fixed size, and cache plans travel with it, so no rank looks anything up; so do the times that each
rank took, by which the first rank decides the layers of each (`partition`, `migration`). A rank
that dies breaks the ring, and with it the whole engine, which is started again.
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor

from streamcam.engines.device_memory import OutOfMemory
from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Call
from streamcam.video.parallel.migration import LoadLayers
from streamcam.video.parallel.partition import BlockScheduler, Partition, RankTime
from streamcam.video.parallel.ring_rank import RankLayers, RankStatus, partition_to_json
from streamcam.video.parallel.transport import Header, RingTransport
from streamcam.video.wan import CausalWan


class LayerRing(RankLayers):
    """All layers of a model: the first ones in this process, the rest on the ranks after it.

    `pipeline_depth` is the number of ranks.

    Args:
        model: the layers of this rank.
        transport: to the next rank, and from the last.
        load: loads the weights of more layers.
        scheduler: decides the layers of each rank; it holds the partition that all begin with.
    """

    def __init__(
        self,
        model: CausalWan,
        transport: RingTransport,
        load: LoadLayers,
        scheduler: BlockScheduler,
    ) -> None:
        super().__init__(model, transport, load)
        self.pipeline_depth = transport.ranks
        self.statuses: list[RankStatus] = []
        """Status of every rank, as of the last call that came back."""
        self._scheduler = scheduler
        self._partitions = {0: scheduler.partition}
        self._newest = 0
        self._row_versions: list[int] = []
        self._pending: deque[tuple[list[Tensor | Exception], Hashable]] = deque()

    @property
    def partition(self) -> Partition:
        """Layers of each rank, for chunks that enter now."""
        return self._partitions[self.version]

    @property
    def settled(self) -> bool:
        """Whether all rows in use are on the newest partition."""
        return {self._newest, *self._row_versions[: self._active_rows]} == {self.version}

    def reset(self, rows: int, shape: CacheShape) -> None:
        """Start a video with empty caches, on all ranks."""
        cache = [shape.slots, shape.sink_tokens, shape.position_limit, shape.realign]
        self._send("reset", rows=rows, cache=cache, partition=partition_to_json(self.partition))
        self.reset_on(rows, shape, self.partition)
        self._row_versions = [self.version] * rows

    def set_prompt(self, embeds: Tensor) -> None:
        """Set the prompt, ``(1, L, text_dim)``, on all ranks."""
        super().set_prompt(embeds)
        self._send("set_prompt", embeds)

    def copy_row(self, source: int, rows: int) -> None:
        """Copy the cache of row `source` to the first `rows`, on all ranks."""
        super().copy_row(source, rows)
        self._send("copy_row", source=source, rows=rows)
        self._row_versions = [self._row_versions[source]] * len(self._row_versions)

    def stop(self) -> None:
        """End the other ranks."""
        self._send("stop")

    def repartition(self, partition: Partition) -> None:
        """Run chunks on another partition, as soon as all ranks have loaded its layers.

        Rows migrate to it one by one. To be called only once they are `settled` on the last one.
        """
        assert self.settled, "the last partition has not reached all rows"
        self._newest += 1
        self._partitions[self._newest] = partition
        self._send("prepare", version=self._newest, partition=partition_to_json(partition))
        self.prepare(self._newest, partition)

    def submit(self, call: Call, x: Tensor) -> Callable[[], Tensor]:
        """Run the first layers and pass the call on; return a function that waits for its flow.

        Raises:
            EngineError: a rank is gone.
            OutOfMemory: a rank has too little memory for it; raised by the function.
        """
        for row, version in zip(call.rows, call.versions, strict=False):
            if version != self._row_versions[row]:
                self._migrate(row, version)
        header: Header = {"command": "run", "call": call._asdict(), "statuses": []}
        self._transport.send(header, self.run(call, x))
        result: list[Tensor | Exception] = []
        self._pending.append((result, self._call_kind(call)))

        def flow() -> Tensor:
            while not result:
                self._collect()
            if isinstance(result[0], Exception):
                raise result[0]
            return result[0]

        return flow

    def _migrate(self, row: int, version: int) -> None:
        old, new = self._partitions[self._row_versions[row]], self._partitions[version]
        # Sent before this rank migrates: the caches that other ranks send are needed before the
        # call reaches them.
        self._send("migrate", row=row, old=partition_to_json(old), new=partition_to_json(new))
        self.migrate(row, old, new)
        self._row_versions[row] = version
        oldest = min(self._row_versions[: self._active_rows])
        self._partitions = {v: part for v, part in self._partitions.items() if v >= oldest}

    def _send(self, command: str, payload: Tensor | None = None, **fields: Any) -> None:
        self._transport.send({"command": command} | fields, payload)

    def _collect(self) -> None:
        """Receive the flow that is due next and the status of every rank."""
        header, tensor = self._transport.receive()
        result, kind = self._pending.popleft()
        if tensor is None:
            result.append(OutOfMemory(header["failed"]))
            return
        result.append(tensor)
        self.statuses = [self.status(), *(RankStatus(*fields) for fields in header["statuses"])]
        if self._newest > self.version:
            if all(status.prepared == self._newest for status in self.statuses):
                self.version = self._newest
        elif kind is not None and self.settled:
            self._rebalance(kind)

    def _rebalance(self, kind: Hashable) -> None:
        times = [RankTime(s.fixed_s + s.layers_s, s.layers_s) for s in self.statuses]
        if better := self._scheduler.observe(times, self.partition, kind):
            self.repartition(better)

    def _call_kind(self, call: Call) -> Hashable:
        """Return what the times of a call depend on; None where they are of no use."""
        if call.order or len(call.rows) < self._active_rows or not self.settled:
            return None
        return self.version, len(call.rows), len(call.slots[0])


def max_payload_bytes(model: CausalWan, rows: int, frames: int, text_dim: int) -> int:
    """Return the size of the largest tensor that is sent round the ring, in bytes.

    Args:
        model: layers of any rank.
        rows: of the batch.
        frames: latent frames in a chunk; the first one has one more.
        text_dim: of the prompt's 512 tokens, which are float32.
    """
    config = model.transformer.config
    dim = config.num_attention_heads * config.attention_head_dim
    max_frames = max(rows * frames, frames + 1)
    tokens: int = max_frames * model.grid[0] * model.grid[1] * dim * model.dtype.itemsize
    return max(tokens, 512 * text_dim * 4)
