"""Speeds of the image pipeline on the engines that run at once, in turns."""

from collections.abc import Iterator, Sequence
from functools import partial

from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import LeftOut, Reading, Record, Value
from benchmarks.published_stream import PUBLISHED_CODE, published_candidate
from benchmarks.target_table import (
    BATCH,
    FOUR,
    GRAPH,
    ONE,
    OUTSIDE_GRAPHS,
    PUBLISHED,
    RESIDUAL,
    Outcome,
    Target,
)
from streamcam.bench.engine_comparison import EAGER, Comparison, Maker, Result
from streamcam.bench.harness import changed
from streamcam.bench.image_bench import at_steps
from streamcam.cli.bench_options import moving_scene
from streamcam.settings.config import Config


def one_step(check: CheckSettings, engine: str) -> Iterator[Record]:  # noqa: ARG001
    """Yield each engine's speed at one step, and that of the published code."""
    yield from compared(check, check.config(), check.ready_engines, ONE, published=True)


def four_steps(check: CheckSettings, engine: str) -> Iterator[Record]:  # noqa: ARG001
    """Yield the same at four steps, as one batch."""
    config = at_steps(check.config(), 4, "none")
    yield from compared(check, config, check.ready_engines, published=True)


def four_frames(check: CheckSettings, engine: str) -> Iterator[Record]:  # noqa: ARG001
    """Yield each engine's speed with four frames a call."""
    yield from compared(check, check.config(frame_buffer_size=4), check.ready_engines, FOUR)


def sdxl_turbo(check: CheckSettings, engine: str) -> Iterator[Record]:  # noqa: ARG001
    """Yield each engine's speed at one step in the shapes of SDXL-Turbo."""
    yield from compared(check, check.config("sdxl"), check.ready_engines)


def techniques(check: CheckSettings, engine: str) -> Iterator[Record]:  # noqa: ARG001
    """Yield the gain of Stream Batch and of RCFG, on each engine."""
    base = check.config()
    four = at_steps(base, 4, "none")
    pairs = (
        (BATCH, four, changed(four, use_denoising_batch=False)),
        (RESIDUAL, at_steps(base, 5, "self"), at_steps(base, 5, "full")),
    )
    # The fastest first: eager, bound by its launches, gains little.
    for name in reversed(check.ready_engines):
        for target, config, over in pairs:
            comparison = _comparison(check, base)
            ratio = comparison.speedup(name, config, over)
            yield from map(LeftOut, comparison.left_out)
            if ratio is not None:
                yield Reading(f"{target.what}, on {name}", {"×": ratio})
                yield Outcome(target, ratio, f"both on {name}")


def compared(
    check: CheckSettings,
    config: Config,
    engines: Sequence[str],
    rate: Target | None = None,
    *,
    published: bool = False,
) -> Iterator[Record]:
    """Yield a line for `config` on each engine, and the targets that follow from them."""
    comparison = _comparison(check, config)
    candidates: dict[str, Maker] = {}
    if published:
        candidates[PUBLISHED_CODE] = partial(published_candidate, config, moving_scene(config))
    lines = comparison.streams(engines, candidates)
    yield from map(LeftOut, comparison.left_out)
    for line in lines:
        yield Reading(line.name, _values(line))
        if line.name != PUBLISHED_CODE:
            yield from _outcomes(line, rate)


def _outcomes(line: Result, rate: Target | None) -> Iterator[Outcome]:
    if rate is not None:
        yield Outcome(rate, line.fps, line.name)
    if rate is not ONE:
        return
    if line.name == "graph" and EAGER in line.ratios:
        yield Outcome(GRAPH, line.ratios[EAGER], "")
    if PUBLISHED_CODE in line.ratios:
        yield Outcome(PUBLISHED, line.ratios[PUBLISHED_CODE], line.name)
    if line.use and line.use.graphs and line.use.outside_graphs is not None:
        yield Outcome(OUTSIDE_GRAPHS, 100 * line.use.outside_graphs, line.name)


def _values(line: Result) -> dict[str, Value]:
    values: dict[str, Value] = {
        "ms": line.ms,
        "fps": line.fps,
        "latency, ms": line.latency_ms,
        "MB": line.memory / 1e6,
        "% of the rate": 100 * line.share,
    }
    if line.use is not None:
        values |= {"launches": line.use.launches, "graphs": line.use.graphs}
        if line.use.busy is not None and line.use.outside_graphs is not None:
            values |= {"% busy": 100 * line.use.busy, "% no graph": 100 * line.use.outside_graphs}
    return values | {f"× {name}": ratio for name, ratio in line.ratios.items()}


def _comparison(check: CheckSettings, config: Config) -> Comparison:
    scene = moving_scene(config)
    return Comparison(config, scene, rounds=check.rounds, deadline=check.deadline)
