"""SLO scheduler on a simulated clock: choices, bounded queues, counted misses."""

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count, pairwise

import pytest

from streamcam.errors import ConfigError
from streamcam.video.scheduler import Choice, Objective, Scheduler, choose, latency

ONE = Choice(chunk=1, steps=1, batched=False)
TWO = Choice(chunk=1, steps=2, batched=False)
TWO_BATCHED = Choice(chunk=1, steps=2, batched=True)
LONG = Choice(chunk=3, steps=1, batched=False)
TABLE = {ONE: 0.06, TWO: 0.11, TWO_BATCHED: 0.085, LONG: 0.13}
"""Seconds: 67, 36, 47 and 92 frames per second."""
OBJECTIVE = Objective(target_fps=30, deadline_s=0.6, capacity=16)


@dataclass
class Device:
    """A model that takes one chunk at a time; a stream batch gives each chunk calls - 1 later."""

    scheduler: Scheduler[int]
    cost: Callable[[Choice, float], float]
    now: float = 0.0
    taken: list[int] = field(default_factory=list)
    choices: list[tuple[float, Choice]] = field(default_factory=list)
    flight: deque[list[int]] = field(default_factory=deque)
    longest: int = 0

    def run(self, captured: Iterable[float]) -> "Device":
        """Run until every frame, captured at these times, was put and no chunk is left to run."""
        times = list(captured)
        coming = deque(enumerate(times))
        while True:
            while coming and coming[0][1] <= self.now:
                self.scheduler.put(*coming.popleft())
                self.longest = max(self.longest, len(self.scheduler))
            if job := self.scheduler.take(self.now):
                self._run(job.frames, job.choice, times)
            elif coming:
                self.now = coming[0][1]
            else:
                return self

    def _run(self, frames: list[int], choice: Choice, times: list[float]) -> None:
        seconds = self.cost(choice, self.now)
        self.choices.append((self.now, choice))
        self.taken += frames
        self.now += seconds
        self.scheduler.record_call(choice, seconds)
        self.flight.append(frames)
        while len(self.flight) >= choice.calls:
            done = self.flight.popleft()
            self.scheduler.record_delivery([times[i] for i in done], self.now)

    def steps_within(self, start: float, end: float) -> set[int]:
        return {choice.steps for at, choice in self.choices if start <= at < end}


def as_measured(choice: Choice, _now: float) -> float:
    return TABLE[choice]


def camera(fps: float, seconds: float) -> list[float]:
    return [i / fps for i in range(int(fps * seconds))]


def device(cost: Callable[[Choice, float], float] = as_measured) -> Device:
    return Device(Scheduler(TABLE, OBJECTIVE), cost)


def test_most_steps_that_keep_rate_and_deadline_are_chosen() -> None:
    assert choose(TABLE, OBJECTIVE, 1 / 30) == TWO
    assert choose(TABLE, Objective(target_fps=40, deadline_s=1), 1 / 60) == TWO_BATCHED
    assert choose(TABLE, Objective(target_fps=60, deadline_s=0.6), 1 / 60) == ONE


def test_a_longer_chunk_is_chosen_when_only_that_keeps_the_rate() -> None:
    assert choose(TABLE, Objective(target_fps=80, deadline_s=0.6), 1 / 90) == LONG


def test_a_stream_batch_is_left_when_frames_come_too_slowly_for_it() -> None:
    table = {ONE: 0.06, TWO_BATCHED: 0.085}
    objective = Objective(target_fps=30, deadline_s=0.6)
    assert choose(table, objective, 1 / 30) == TWO_BATCHED
    assert choose(table, objective, 1 / 8) == ONE


def test_a_slow_camera_needs_no_more_than_its_own_rate() -> None:
    table = {ONE: 0.06, TWO: 0.3}
    objective = Objective(target_fps=30, deadline_s=1)
    assert choose(table, objective, 1 / 30) == ONE
    assert choose(table, objective, 1 / 10) == TWO


def test_the_oldest_frame_waits_for_the_call_before_or_for_its_chunk_to_fill() -> None:
    assert latency(ONE, 0.5, 1 / 100) == pytest.approx(0.5 + 0.5)
    assert latency(ONE, 0.5, 1) == pytest.approx(3 + 0.5)
    assert latency(TWO_BATCHED, 0.5, 1 / 100) == pytest.approx(0.5 + 0.5 + 0.5)
    assert latency(TWO_BATCHED, 0.5, 1) == pytest.approx(3 + 4 + 0.5)


def test_where_nothing_keeps_up_the_fastest_in_time_runs_and_else_the_least_late() -> None:
    assert choose(TABLE, Objective(target_fps=200, deadline_s=0.3), 1 / 200) == LONG
    assert choose(TABLE, Objective(target_fps=200, deadline_s=0.15), 1 / 200) == ONE
    assert choose(TABLE, Objective(target_fps=200, deadline_s=0.01), 1 / 200) == ONE


def test_the_choice_in_use_is_left_only_for_one_that_is_better_by_a_margin() -> None:
    table = {ONE: 0.06, TWO: 0.125}
    assert choose(table, OBJECTIVE, 1 / 30, current=TWO) == TWO
    assert choose(table, OBJECTIVE, 1 / 30, current=ONE) == ONE


def test_a_model_that_keeps_up_takes_every_frame_in_time() -> None:
    run = device().run(camera(30, 120))
    stats = run.scheduler.stats
    assert run.taken == list(range(3600))
    assert (stats.misses, stats.dropped, run.longest) == (0, 0, 4)
    assert {choice for _, choice in run.choices} == {TWO}
    assert max(stats.latencies.recent) <= latency(TWO, TABLE[TWO], 1 / 30) + 1e-9
    assert stats.jitter.percentile(99) == pytest.approx(0, abs=1e-9)


def test_a_camera_slower_than_the_model_loses_nothing() -> None:
    run = device().run(camera(10, 120))
    stats = run.scheduler.stats
    assert (run.taken, stats.misses, stats.dropped) == (list(range(1200)), 0, 0)


def test_frames_of_a_camera_faster_than_the_model_are_skipped_evenly_and_in_time() -> None:
    objective = Objective(target_fps=30, deadline_s=0.6, capacity=32)
    run = Device(Scheduler({TWO: 0.11}, objective), as_measured).run(camera(120, 60))
    stats = run.scheduler.stats
    gaps = [b - a for a, b in pairwise(run.taken[40:-4])]
    assert stats.misses == 0
    assert run.longest <= 14
    assert set(gaps) <= {3, 4}
    assert stats.delivered == pytest.approx(60 * 4 / 0.11, rel=0.01)
    assert stats.delivered + stats.dropped + len(run.scheduler) == 60 * 120


def test_bursts_are_worked_off_without_loss_while_the_deadline_allows() -> None:
    clumps = [8 * (i // 8) / 30 for i in range(3600)]
    run = device().run(clumps)
    stats = run.scheduler.stats
    rate_known = 128
    assert stats.misses == 0
    assert run.taken[-(3600 - rate_known) :] == list(range(rate_known, 3600))


def test_a_burst_beyond_the_queue_costs_the_oldest_frames_and_no_deadline() -> None:
    clump = [10.0] * 100
    run = device().run([*camera(30, 10), *clump, *(10 + t for t in camera(30, 10)[1:])])
    stats = run.scheduler.stats
    assert run.longest == OBJECTIVE.capacity
    assert stats.misses == 0
    assert 100 - OBJECTIVE.capacity <= stats.dropped <= 100 + 8
    assert run.taken == sorted(run.taken)


def test_a_device_that_slows_down_gets_fewer_steps_and_few_misses() -> None:
    """Most of the last 15 calls must be slow before it counts: at most 8 chunks are late."""

    def cost(choice: Choice, now: float) -> float:
        return TABLE[choice] * (2 if 20 <= now < 40 else 1)

    run = device(cost).run(camera(30, 60))
    stats = run.scheduler.stats
    assert run.steps_within(0, 20) == {2}
    assert run.steps_within(22, 40) == {1}
    assert run.steps_within(42, 60) == {2}
    assert stats.misses <= 8 * TWO.frames
    assert run.longest <= OBJECTIVE.capacity


def test_a_device_that_slows_down_beyond_the_deadline_continues_and_counts_misses() -> None:
    run = device(lambda choice, _: 20 * TABLE[choice]).run(camera(30, 60))
    stats = run.scheduler.stats
    assert stats.delivered == stats.misses > 40
    assert run.longest == OBJECTIVE.capacity
    assert run.choices[-1][1] == ONE


def test_calls_of_uneven_length_change_no_choice() -> None:
    rng = random.Random(1)
    run = device(lambda choice, _: TABLE[choice] * rng.lognormvariate(0, 0.2)).run(camera(30, 300))
    assert {choice for _, choice in run.choices} == {TWO}
    assert run.scheduler.stats.misses == 0


def test_a_single_stall_changes_no_choice_and_costs_its_own_frames() -> None:
    stalled = False

    def cost(choice: Choice, now: float) -> float:
        nonlocal stalled
        first, stalled = now > 10 and not stalled, stalled or now > 10
        return 2.0 if first else TABLE[choice]

    run = device(cost).run(camera(30, 30))
    stats = run.scheduler.stats
    assert {choice for _, choice in run.choices} == {TWO}
    assert stats.misses == TWO.frames
    assert stats.dropped == pytest.approx(2.0 * 30, abs=OBJECTIVE.capacity)


def test_a_device_that_stalls_again_and_again_is_a_slow_one() -> None:
    """Most calls are as fast as measured, and yet half of the time is lost."""
    calls = count()
    run = device(lambda choice, _: TABLE[choice] * (6 if next(calls) % 3 == 0 else 1))
    run.run(camera(30, 60))
    assert run.steps_within(5, 60) == {1}


def test_frames_from_before_each_pause_of_the_camera_are_dropped() -> None:
    before_a_pause = camera(30, 10)[:299]
    captured = [15 * k + t for k in range(6) for t in before_a_pause]
    run = device().run(captured)
    stats = run.scheduler.stats
    assert (stats.misses, stats.late) == (0, 5 * (299 % TWO.frames))


def test_a_pause_does_not_count_towards_the_rate_of_the_camera() -> None:
    scheduler = Scheduler[int](TABLE, OBJECTIVE)
    for i, at in enumerate([*camera(10, 10), *(15 + t for t in camera(10, 1))]):
        scheduler.put(i, at)
    assert scheduler.interval == pytest.approx(1 / 10)


def test_a_camera_too_slow_for_any_deadline_still_gets_output() -> None:
    run = device().run(camera(0.5, 400))
    stats = run.scheduler.stats
    assert stats.delivered >= 100 - TWO.frames
    assert stats.misses >= 0.75 * stats.delivered - TWO.frames
    assert run.longest <= OBJECTIVE.capacity


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_late_where_some_choice_is_in_time_and_the_table_holds(seed: int) -> None:
    rng = random.Random(seed)
    overhead, per_latent, fps = rng.uniform(0.01, 0.1), rng.uniform(0.01, 0.1), rng.uniform(5, 90)
    table = {
        Choice(chunk, steps, batched): overhead * (1 if batched else steps)
        + per_latent * chunk * steps * (0.8 if batched else 1)
        for chunk in (1, 2, 3)
        for steps in (1, 2, 3, 4)
        for batched in (False, True)
    }
    objective = Objective(target_fps=24, deadline_s=1.5, capacity=32)
    best = choose(table, objective, 1 / fps)
    assert latency(best, table[best], 1 / fps) < objective.deadline_s
    run = Device(Scheduler(table, objective), lambda choice, _: table[choice])
    run.run(camera(fps, 60))
    unknown_rate = 16
    assert run.scheduler.stats.misses <= unknown_rate
    assert run.longest <= objective.capacity
    assert run.scheduler.stats.delivered > 30 * min(fps, best.frames / table[best])


@pytest.mark.parametrize("seed", range(20))
def test_every_frame_is_delivered_dropped_or_waiting_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    fps, now, captured = rng.uniform(1, 100), 0.0, []
    for _ in range(3000):
        now += rng.choice([0, 1, 1, 2]) / fps + (rng.random() < 0.01) * rng.random() * 3
        captured.append(now)

    run = device(lambda choice, _: TABLE[choice] * rng.lognormvariate(0, 0.5)).run(captured)
    stats, waiting = run.scheduler.stats, len(run.scheduler)
    in_flight = sum(map(len, run.flight))
    assert run.longest <= OBJECTIVE.capacity
    assert stats.delivered + in_flight + stats.dropped + waiting == 3000
    assert run.taken == sorted(set(run.taken))


def test_the_first_chunk_takes_one_more_frame() -> None:
    scheduler = Scheduler[int](TABLE, OBJECTIVE)
    for i in range(4):
        scheduler.put(i, i / 30)
        assert scheduler.take(i / 30, extra=1) is None
    scheduler.put(4, 4 / 30)
    job = scheduler.take(4 / 30, extra=1)
    assert job
    assert job.frames == [0, 1, 2, 3, 4]


def test_misses_and_jitter_are_reported_in_one_line() -> None:
    scheduler = Scheduler[int](TABLE, OBJECTIVE)
    for k, late in enumerate([0.7, 0.5, 0.5]):
        scheduler.record_delivery([k + 0.0, k + 0.2], k + late)
    assert str(scheduler.stats) == (
        "1 of 6 frames late (16.7%), 0 frames skipped to keep up, latency 500/700/700 ms,"
        " jitter 0/200/200 ms"
    )
    assert str(Scheduler[int](TABLE, OBJECTIVE).stats) == (
        "0 of 0 frames late (0.0%), 0 frames skipped to keep up, latency –/–/– ms, jitter –/–/– ms"
    )


def test_a_queue_shorter_than_a_chunk_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 13"):
        Scheduler(TABLE, Objective(capacity=12))
    with pytest.raises(ConfigError, match="measure the model"):
        Scheduler({}, Objective())
