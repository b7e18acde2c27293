"""Plan of the rolling KV cache, against a window of plain lists and the published streams."""

import random
from collections import deque
from dataclasses import replace

import pytest

from streamcam.errors import ConfigError
from streamcam.video.cache_plan import CacheShape, ChunkPlan, Cursor, plan_chunk
from tests.video.video_goldens import golden, needs_goldens

Key = tuple[int, int]
"""Latent frame, and the position that its keys are rotated to."""

CACHES = [
    CacheShape(),
    CacheShape(realign=True),
    CacheShape(slots=5, sink_tokens=2),
    CacheShape(slots=5, sink_tokens=2, realign=True),
    CacheShape(slots=21, sink_tokens=0, position_limit=64),
    CacheShape(slots=21, sink_tokens=0, position_limit=21, realign=True),
    CacheShape(slots=2, sink_tokens=1, position_limit=2, realign=True),
    CacheShape(slots=1, sink_tokens=0, position_limit=7),
    CacheShape(slots=16, sink_tokens=3, position_limit=1000, realign=True),
]


class Row:
    """Cache of one row that carries out plans, as the layers do with tensors."""

    def __init__(self, cache: CacheShape) -> None:
        self.cache = cache
        self.keys: list[Key | None] = [None] * cache.slots

    def write(self, planned: ChunkPlan) -> list[Key]:
        """Write a chunk and return the keys that it attends to."""
        rolling = range(self.cache.sink_tokens, planned.valid)
        if planned.shift:
            for slot in rolling:
                if key := self.keys[slot]:
                    self.keys[slot] = (key[0], key[1] + planned.shift)
        for i, slot in enumerate(planned.slots):
            self.keys[slot] = (planned.frame + i, planned.position + i)
        attended = self.keys[: planned.valid]
        assert None not in attended, "an empty slot is attended to"
        return [key for key in attended if key]

    def refresh(self, planned: ChunkPlan, sink: int) -> None:
        position = planned.position + planned.sink_shifts[sink]
        self.keys[sink] = (planned.frame, position)


class Window:
    """Brute-force model: sink frames in one list, the latest frames in another."""

    def __init__(self, cache: CacheShape) -> None:
        self.cache = cache
        self.sink_tokens: list[Key] = []
        self.latest: deque[Key] = deque(maxlen=cache.window)
        self.frame = self.position = 0

    def write(self, count: int) -> list[Key]:
        if self.position >= self.cache.position_limit:
            back = self.position - (self.cache.slots - (count if self.cache.realign else 1))
            self.position -= back
            if self.cache.realign:
                moved = [(frame, at - back) for frame, at in self.latest]
                self.latest = deque(moved, self.cache.window)
        for _ in range(count):
            into = (
                self.sink_tokens if len(self.sink_tokens) < self.cache.sink_tokens else self.latest
            )
            into.append((self.frame, self.position))
            self.frame += 1
            self.position += 1
        return [*self.sink_tokens, *self.latest]

    def refresh(self, sink: int) -> None:
        frame, position = self.latest[-1]
        self.sink_tokens[sink] = (frame, sink if self.cache.realign else position)


@pytest.mark.parametrize("cache", CACHES, ids=str)
def test_ten_thousand_chunks_attend_to_what_a_window_of_lists_holds(cache: CacheShape) -> None:
    rng = random.Random(0)
    row, window, cursor = Row(cache), Window(cache), Cursor()
    for k in range(10_000):
        longest = cache.window if k else cache.slots
        count = rng.choice([1, 1, rng.randint(1, longest)])
        before = set(window.latest)
        planned, cursor = plan_chunk(cache, cursor, count)
        actual, expected = row.write(planned), window.write(count)
        assert sorted(actual) == sorted(expected)
        assert {f for f, _ in before} - {f for f, _ in window.latest} == set(planned.evicted)
        newest = actual[planned.slots[-1]]
        assert newest == (cursor.frame - 1, cursor.position - 1)
        assert 0 <= cursor.position - 1 < cache.position_limit + cache.window
        if planned.sink_shifts and rng.random() < 0.3:
            sink = rng.randrange(cache.sink_tokens)
            row.refresh(planned, sink)
            window.refresh(sink)


@pytest.mark.parametrize("slots", [2, 4, 6, 21])
@pytest.mark.parametrize("sink_tokens", [0, 1])
def test_realigned_keys_are_always_as_many_positions_back_as_they_are_frames_old(
    slots: int, sink_tokens: int
) -> None:
    cache = CacheShape(slots=slots, sink_tokens=sink_tokens, realign=True)
    row, cursor = Row(cache), Cursor()
    for _ in range(1000):
        planned, cursor = plan_chunk(cache, cursor, 1)
        for frame, position in row.write(planned)[sink_tokens:]:
            assert planned.position - position == planned.frame - frame


@pytest.mark.parametrize("count", [1, 3])
def test_a_realigned_window_is_as_it_was_when_it_first_filled(count: int) -> None:
    cache = CacheShape(slots=12, sink_tokens=3, position_limit=20, realign=True)
    row, cursor = Row(cache), Cursor()
    returns = 0
    for _ in range(0, 120, count):
        planned, cursor = plan_chunk(cache, cursor, count)
        positions = sorted(position for _, position in row.write(planned))
        if planned.shift:
            returns += 1
            assert positions == [*range(12)]
    assert returns > 5


def test_published_positions_leave_old_keys_ahead_of_new_ones() -> None:
    row, cursor = Row(CacheShape()), Cursor()
    for _ in range(51):
        planned, cursor = plan_chunk(CacheShape(), cursor, 1)
        keys = row.write(planned)
    assert planned.position == 5
    assert keys == [(0, 0), (1, 1), (2, 2), (48, 48), (49, 49), (50, 5)]


def test_positions_stay_small_when_a_stream_runs_for_years() -> None:
    cursor = Cursor(frame=10**15, position=49)
    for _ in range(200):
        planned, cursor = plan_chunk(CacheShape(), cursor, 1)
        assert planned.position < 50
        assert max(planned.slots) < planned.valid == 6


def test_another_step_of_a_chunk_writes_the_same_slots() -> None:
    cache = CacheShape()
    row, cursor = Row(cache), Cursor()
    for _ in range(20):
        planned, cursor = plan_chunk(cache, cursor, 1)
        once = row.write(planned)
        assert planned.shift == 0
        assert row.write(planned) == once


def test_a_frame_that_replaces_a_sink_token_stays_in_the_window() -> None:
    row, cursor = Row(CacheShape()), Cursor()
    for _ in range(8):
        planned, cursor = plan_chunk(CacheShape(), cursor, 1)
        row.write(planned)
    row.refresh(planned, 1)
    planned, cursor = plan_chunk(CacheShape(), cursor, 1)
    assert [frame for frame, _ in row.write(planned)] == [0, 7, 2, 6, 7, 8]


def test_sink_tokens_are_refreshed_only_by_single_frames_once_they_are_full() -> None:
    cursor, refreshable = Cursor(), []
    for count in (2, 1, 1, 2, 1):
        planned, cursor = plan_chunk(CacheShape(), cursor, count)
        refreshable.append(bool(planned.sink_shifts))
    assert refreshable == [False, False, True, False, True]


def test_a_chunk_longer_than_the_window_is_refused() -> None:
    _, cursor = plan_chunk(CacheShape(), Cursor(), 6)
    with pytest.raises(ConfigError, match="4 latent frames does not fit a KV cache of 6 with 3"):
        plan_chunk(CacheShape(), cursor, 4)
    with pytest.raises(ConfigError, match="7 latent frames"):
        plan_chunk(CacheShape(), Cursor(), 7)
    with pytest.raises(ConfigError, match="0 latent frames"):
        plan_chunk(CacheShape(), Cursor(), 0)


def test_a_cache_without_a_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="keep 0 to 3"):
        CacheShape(slots=4, sink_tokens=4)
    with pytest.raises(ConfigError, match="at least 6"):
        replace(CacheShape(), position_limit=5)


@needs_goldens
@pytest.mark.parametrize("case", ["s1", "s2", "s3", "s2_wo_kv16"])
def test_every_row_holds_what_the_published_stream_holds(case: str) -> None:
    tensors, about = golden(f"case_{case}")
    cache = CacheShape(slots=about["num_kv_cache"], sink_tokens=about["sink"])
    lengths = [chunk["end_frame"] - chunk["start_frame"] for chunk in about["chunks"]]
    cursor, row, slots = Cursor(), Row(cache), []
    for chunk, count in zip(about["chunks"], lengths, strict=True):
        planned, cursor = plan_chunk(cache, cursor, count)
        assert planned.position == chunk["start_frame"]
        row.write(planned)
        slots.append([key[0] if key else -1 for key in row.keys])
    for k in range(len(lengths)):
        for r, published in enumerate(tensors[f"c{k:02}.slots"].tolist()):
            if k > r:  # Before, the published row runs on zeros.
                assert slots[k - r] == published


@needs_goldens
def test_rows_of_a_pipeline_lag_by_its_ranks() -> None:
    tensors, about = golden("pipeline_split_w2_s2")
    cache = CacheShape(slots=about["num_kv_cache"], sink_tokens=about["sink"])
    cursor, plans = Cursor(), []
    for count in (2, *[1] * 9):
        planned, cursor = plan_chunk(cache, cursor, count)
        plans.append(planned)
    for k in range(3, 10):
        starts = tensors[f"c{k:02}.stage0.in_starts"].tolist()
        assert starts == [plans[k].position, plans[k - about["world_size"]].position]
