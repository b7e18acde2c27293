"""Block scheduler: balanced shares, hysteresis, and the blocks that move."""

import random
from itertools import product

import pytest

from streamcam.errors import ConfigError
from streamcam.video.parallel.partition import (
    BlockScheduler,
    Move,
    Partition,
    RankCost,
    RankTime,
    balanced,
    even,
    moves,
    published,
    slowest,
)
from tests.video.video_goldens import golden, needs_goldens


def bounds(partition: Partition) -> list[list[int]]:
    return [[own.start, own.stop] for own in partition]


def measured(costs: list[RankCost], partition: Partition, stretch: float = 1.0) -> list[RankTime]:
    """Return the times of an iteration on each rank."""
    blocks = [cost.per_block_s * len(own) for cost, own in zip(costs, partition, strict=True)]
    return [
        RankTime(stretch * (cost.fixed_s + seconds), stretch * seconds)
        for cost, seconds in zip(costs, blocks, strict=True)
    ]


@needs_goldens
def test_the_published_shares_are_reproduced() -> None:
    _, about = golden("extras")
    assert about["balanced_split"]
    for case in about["balanced_split"]:
        current = tuple(range(*ends) for ends in case["current"])
        times = [RankTime(*t) for t in zip(case["rank_times"], case["dit_times"], strict=True)]
        assert bounds(published(case["total"], times, current)) == case["out"]


def test_published_shares_fill_up_the_shortest_first() -> None:
    times = [RankTime(1.0, 1.0)] * 3
    assert [len(own) for own in published(10, times, even(6, 3))] == [4, 3, 3]


def test_the_first_shares_are_equal() -> None:
    assert bounds(even(30, 4)) == [[0, 8], [8, 16], [16, 23], [23, 30]]
    with pytest.raises(ConfigError, match="5 devices cannot share 4 transformer blocks"):
        even(4, 5)


def test_no_other_cut_has_a_faster_slowest_rank() -> None:
    rng = random.Random(0)
    for _ in range(200):
        costs = [RankCost(rng.uniform(0, 5), rng.uniform(0.5, 3)) for _ in range(3)]
        actual = slowest(costs, balanced(9, costs))
        shares = [s for s in product(range(1, 8), repeat=3) if sum(s) == 9]
        best = min(max(c.seconds(n) for c, n in zip(costs, s, strict=True)) for s in shares)
        assert actual == best


def test_a_slower_rank_gets_fewer_blocks() -> None:
    even_costs = [RankCost(0.0, 1.0), RankCost(0.0, 2.0)]
    assert bounds(balanced(30, even_costs)) == [[0, 20], [20, 30]]


COSTS = [RankCost(0.02, 0.001), RankCost(0.0, 0.001), RankCost(0.03, 0.001)]


def test_encoder_and_decoder_are_balanced_within_one_window() -> None:
    scheduler = BlockScheduler(even(30, 3), window=8)
    for k in range(8):
        better = scheduler.observe(measured(COSTS, scheduler.partition), scheduler.partition)
        assert (better is None) == (k < 7)
    assert scheduler.partition == balanced(30, COSTS)


def test_noise_and_stalls_move_nothing_once_it_is_balanced() -> None:
    rng = random.Random(0)
    scheduler = BlockScheduler(balanced(30, COSTS))
    for _ in range(10_000):
        stretch = 20.0 if rng.random() < 0.05 else rng.uniform(0.9, 1.1)
        times = measured(COSTS, scheduler.partition, stretch)
        assert scheduler.observe(times, scheduler.partition) is None


def test_a_device_that_slows_down_gives_blocks_away_and_gets_them_back() -> None:
    scheduler = BlockScheduler(even(30, 2), window=8)
    alike = [RankCost(0.0, 0.001)] * 2
    throttled = [RankCost(0.0, 0.001), RankCost(0.0, 0.002)]
    for costs, shares in ((alike, [15, 15]), (throttled, [20, 10]), (alike, [15, 15])):
        for _ in range(16):
            scheduler.observe(measured(costs, scheduler.partition), scheduler.partition)
        assert [len(own) for own in scheduler.partition] == shares


def test_times_of_an_earlier_partition_are_ignored() -> None:
    scheduler = BlockScheduler(even(30, 3), window=1)
    first = scheduler.partition
    assert scheduler.observe(measured(COSTS, first), first) == scheduler.partition != first
    assert scheduler.observe(measured(COSTS, first), first) is None


def test_only_blocks_with_another_rank_move() -> None:
    assert moves(even(6, 3), even(6, 3)) == ()
    old, new = (range(2), range(2, 4), range(4, 6)), (range(1), range(1, 4), range(4, 6))
    assert moves(old, new) == (Move(range(1, 2), 0, 1),)
    far = (range(4), range(4, 5), range(5, 6))
    assert moves(new, far) == (
        Move(range(1, 4), 1, 0),
        Move(range(4, 5), 2, 1),
    )


def test_calls_of_another_kind_start_a_new_window() -> None:
    scheduler = BlockScheduler(even(30, 3), window=4)
    first = scheduler.partition
    times = measured(COSTS, first)
    for kind in (1, 1, 1, 2, 2, 2):
        assert scheduler.observe(times, first, kind) is None
    assert scheduler.observe(times, first, 2) == scheduler.partition != first
