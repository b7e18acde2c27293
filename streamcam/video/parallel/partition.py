"""Block scheduler: balance transformer blocks over the ranks of a pipeline (arXiv 2511.07399).

A partition cuts the blocks into one range for each rank. Every rank runs its range for the rows of
all denoising steps at once; the ranks form a ring of W, so that at iteration k row r holds the
chunk k - r·W. A chunk ends on the partition it began with: it runs in row 0 first, and a new
partition reaches row r only r·W iterations later, with the caches of that row (`migration`).

Plain functions on measured seconds; `BlockScheduler` keeps the state.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from statistics import median
from typing import NamedTuple

from streamcam.errors import ConfigError

Partition = tuple[range, ...]
"""Blocks of each rank, in order; together all of them."""


class RankTime(NamedTuple):
    """Measured seconds of one iteration on one rank."""

    total_s: float
    """With the encoder on the first rank, and the decoder on the last."""
    blocks_s: float
    """Transformer blocks alone."""


class RankCost(NamedTuple):
    """Cost model of one rank: its seconds for any number of blocks."""

    fixed_s: float
    per_block_s: float

    def seconds(self, blocks: int) -> float:
        """Return the time that an iteration with `blocks` blocks takes."""
        return self.fixed_s + blocks * self.per_block_s


class Move(NamedTuple):
    """Blocks that migrate from one rank to another."""

    layers: range
    source: int
    target: int


def even(blocks: int, ranks: int) -> Partition:
    """Return the partition that a pipeline starts with: equal shares, the first ones longer.

    Raises:
        ConfigError: there are more ranks than blocks.
    """
    if not 1 <= ranks <= blocks:
        raise ConfigError(
            f"{ranks} devices cannot share {blocks} transformer blocks: use 1 to {blocks}"
        )
    share, longer = divmod(blocks, ranks)
    return _cut([share + (rank < longer) for rank in range(ranks)])


def published(blocks: int, times: Sequence[RankTime], current: Partition) -> Partition:
    """Return the partition of the published code, which takes blocks to cost the same anywhere.

    Each rank's share changes by its distance from the mean time, in blocks of mean cost; what
    rounding adds is taken from the longest shares in turn, and what it lacks is added to the
    shortest.
    """
    per_block = sum(time.blocks_s for time in times) / blocks
    mean = sum(time.total_s for time in times) / len(times)
    fewest = 1 if blocks >= len(times) else 0
    shares = [
        max(fewest, round(len(blocks_now) + (mean - time.total_s) / per_block))
        for blocks_now, time in zip(current, times, strict=True)
    ]
    by_length = sorted(range(len(shares)), key=lambda rank: (shares[rank], rank))
    while (missing := blocks - sum(shares)) > 0:
        for rank in by_length[:missing]:
            shares[rank] += 1
    while (surplus := sum(shares) - blocks) > 0:
        longest = [rank for rank in reversed(by_length) if shares[rank] > fewest]
        for rank in longest[:surplus]:
            shares[rank] -= 1
    return _cut(shares)


def balanced(blocks: int, costs: Sequence[RankCost]) -> Partition:
    """Return the partition whose slowest rank is the fastest, for ranks that differ in speed.

    Every rank has at least one block. Each further one goes to the rank that then ends soonest,
    which is the optimum, since a rank's time only grows with its share.
    """
    shares = [1] * len(costs)
    for _ in range(blocks - len(costs)):
        after = [cost.seconds(share + 1) for cost, share in zip(costs, shares, strict=True)]
        shares[after.index(min(after))] += 1
    return _cut(shares)


def slowest(costs: Sequence[RankCost], partition: Partition) -> float:
    """Return the seconds between two iterations: those of the slowest rank."""
    return max(cost.seconds(len(own)) for cost, own in zip(costs, partition, strict=True))


def moves(old: Partition, new: Partition) -> tuple[Move, ...]:
    """Return the blocks that migrate between two partitions."""
    return tuple(
        Move(common, source, target)
        for source, before in enumerate(old)
        for target, after in enumerate(new)
        if source != target
        and (common := range(max(before.start, after.start), min(before.stop, after.stop)))
    )


@dataclass(slots=True)
class BlockScheduler:
    """Proposes a partition once measured times show that it is worth its moves.

    It compares medians, so single stalls count for nothing, over full windows that were measured on
    one partition and one kind of call; a gain below `min_gain` is left alone.
    """

    partition: Partition
    window: int = 32
    """Iterations that a proposal is based on."""
    min_gain: float = 0.05
    """Share of the slowest rank's time that a move must save."""
    _measured: deque[Sequence[RankTime]] = field(default_factory=deque)
    _kind: Hashable = None

    def observe(
        self, times: Sequence[RankTime], partition: Partition, kind: Hashable = None
    ) -> Partition | None:
        """Record the times of an iteration; return a better partition, or None.

        Args:
            times: for each rank.
            partition: of the iteration; times of an earlier partition are ignored.
            kind: what else times depend on; another kind starts a new window.
        """
        if partition != self.partition:
            return None
        if kind != self._kind:
            self._kind = kind
            self._measured.clear()
        self._measured.append(times)
        if len(self._measured) < self.window:
            return None
        costs = [self._cost(rank) for rank in range(len(partition))]
        self._measured.clear()
        better = balanced(partition[-1].stop, costs)
        if slowest(costs, better) > (1 - self.min_gain) * slowest(costs, partition):
            return None
        self.partition = better
        return better

    def _cost(self, rank: int) -> RankCost:
        fixed = median(times[rank].total_s - times[rank].blocks_s for times in self._measured)
        blocks = median(times[rank].blocks_s for times in self._measured)
        return RankCost(max(fixed, 0.0), blocks / len(self.partition[rank]))


def _cut(shares: Sequence[int]) -> Partition:
    return tuple(range(a, b) for a, b in pairwise(accumulate(shares, initial=0)))
