"""A ring of devices, each with some of the layers: the first one leads, the others follow.

A call goes from rank to rank and its flow comes back to the first, which alone denoises; while it
is under way the next calls follow behind it (StreamDiffusionV2, section 4). A hop is one message of
fixed size, and plans travel with it, so no rank looks anything up; so do the times that each rank
took, by which the first one decides who runs which layers (`partition`, `migrate`). A rank that
dies breaks the ring, and with it the whole engine, which is started anew.
"""

from collections import deque
from collections.abc import Callable, Hashable

from torch import Tensor

from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Call
from streamcam.video.device_memory import OutOfMemory
from streamcam.video.parallel.migration import LoadLayers
from streamcam.video.parallel.partition import BlockScheduler, Partition, RankTime
from streamcam.video.parallel.ring_rank import RankLayers, RankStatus, partition_to_json
from streamcam.video.parallel.transport import Header, RingTransport
from streamcam.video.wan import CausalWan


class LayerRing(RankLayers):
    """The first layers here, the others on the ranks that follow; `pipeline_depth` is how many ranks.

    Args:
        model: the layers here.
        link: both ends of the ring.
        load: the weights of other layers.
        scheduler: decides who runs which layers, from the partition that all begin with.
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
        """Of all ranks, as of the last call that came back."""
        self._scheduler = scheduler
        self._partitions = {0: scheduler.partition}
        self._newest = 0
        self._row_versions: list[int] = []
        self._pending_results: deque[tuple[list[Tensor | Exception], Hashable]] = deque()

    @property
    def partition(self) -> Partition:
        """Who runs which layers, for chunks that enter now."""
        return self._partitions[self.version]

    @property
    def settled(self) -> bool:
        """Whether all rows in use are on the newest partition."""
        return {self._newest, *self._row_versions[: self._active_rows]} == {self.version}

    def reset(self, rows: int, shape: CacheShape) -> None:
        """Begin a video with empty caches, on all ranks."""
        fields = [shape.slots, shape.sink_tokens, shape.position_limit, shape.realign]
        self._transport.send(
            {
                "command": "reset",
                "rows": rows,
                "cache": fields,
                "partition": partition_to_json(self.partition),
            }
        )
        self.reset_on(rows, shape, self.partition)
        self._row_versions = [self.version] * rows

    def set_prompt(self, embeds: Tensor) -> None:
        """Take the prompt in, on all ranks."""
        super().set_prompt(embeds)
        self._transport.send({"command": "set_prompt"}, embeds)

    def copy_row(self, source: int, rows: int) -> None:
        """Copy the cache of the row `source` to the first `rows`, on all ranks."""
        super().copy_row(source, rows)
        self._transport.send({"command": "copy_row", "source": source, "rows": rows})
        self._row_versions = [self._row_versions[source]] * len(self._row_versions)

    def stop(self) -> None:
        """Let the ranks that follow end."""
        self._transport.send({"command": "stop"})

    def repartition(self, partition: Partition) -> None:
        """Have chunks run on another partition, as soon as all ranks have loaded its layers.

        Rows take it over one by one; not before they all are `settled` on the last one.
        """
        assert self.settled, "the last partition is still on its way"
        self._newest += 1
        self._partitions[self._newest] = partition
        self._transport.send(
            {
                "command": "prepare",
                "version": self._newest,
                "partition": partition_to_json(partition),
            }
        )
        self.prepare(self._newest, partition)

    def submit(self, call: Call, x: Tensor) -> Callable[[], Tensor]:
        """Run the first layers and pass the call on; what is returned waits for its flow.

        Raises:
            EngineError: a rank is gone.
            OutOfMemory: one has too little memory for it.
        """
        for row, version in zip(call.rows, call.versions, strict=False):
            if version != self._row_versions[row]:
                self._migrate(row, version)
        header: Header = {"command": "run", "call": call._asdict(), "ranks": []}
        self._transport.send(header, self.run(call, x))
        result: list[Tensor | Exception] = []
        self._pending_results.append((result, self._call_kind(call)))

        def flow() -> Tensor:
            while not result:
                self._collect()
            if isinstance(result[0], Exception):
                raise result[0]
            return result[0]

        return flow

    def _migrate(self, row: int, version: int) -> None:
        old, new = self._partitions[self._row_versions[row]], self._partitions[version]
        # The others are told first: what they send is needed before they see the call.
        self._transport.send(
            {
                "command": "migrate",
                "row": row,
                "from": partition_to_json(old),
                "to": partition_to_json(new),
            }
        )
        self.migrate(row, old, new)
        self._row_versions[row] = version
        oldest = min(self._row_versions[: self._active_rows])
        self._partitions = {v: own for v, own in self._partitions.items() if v >= oldest}

    def _collect(self) -> None:
        """Take the flow that is due next, and see how the ranks fare."""
        header, tensor = self._transport.receive()
        result, kind = self._pending_results.popleft()
        if tensor is None:
            result.append(OutOfMemory(header["failed"]))
            return
        result.append(tensor)
        self.statuses = [self.status(), *(RankStatus(*found) for found in header["ranks"])]
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
        """Return what the times of a call depend on; None for one that tells nothing."""
        if call.order or len(call.rows) < self._active_rows or not self.settled:
            return None
        return self.version, len(call.rows), len(call.slots[0])


def max_payload_bytes(model: CausalWan, rows: int, frames: int, text_dim: int) -> int:
    """Return the bytes of the largest tensor that goes round.

    Args:
        model: these layers.
        rows: of the batch.
        frames: latent frames in a chunk; the first one has one more.
        text_dim: of the prompt's 512 tokens, which are float32.
    """
    config = model.transformer.config
    dim = config.num_attention_heads * config.attention_head_dim
    most = max(rows * frames, frames + 1)
    tokens: int = most * model.grid[0] * model.grid[1] * dim * model.dtype.itemsize
    return max(tokens, 512 * text_dim * 4)
