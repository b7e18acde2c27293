"""Targets that streamcam is held to: what is measured, and how far it must reach."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Target(NamedTuple):
    """A figure to reach: `bound` at least, or at most."""

    where: str
    what: str
    bound: float
    unit: str
    at_most: bool = False

    @property
    def bound_text(self) -> str:
        """The bound, as in a table."""
        return f"{'≤' if self.at_most else '≥'} {self.bound:g} {self.unit}"


class Outcome(NamedTuple):
    """Measurement of a target."""

    target: Target
    figure: float | None
    """None where it was not measured."""
    note: str
    """The conditions of the measurement, or the reason that there is none."""

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None where it was not measured."""
        if self.figure is None:
            return None
        target = self.target
        return self.figure <= target.bound if target.at_most else self.figure >= target.bound


OVERHEAD = Target("any", "pipeline time / bare model calls", 1.03, "×", at_most=True)
NANO_ENGINE = Target("CPU", "embedded model, 256²: best engine over eager float32", 2.5, "×")
SMALL_ENGINE = Target(
    "CPU", "9M-parameter U-Net, 4 steps, self: best engine over eager float32", 2.0, "×"
)
DIFFUSERS = Target(
    "CPU", "over diffusers' img2img pipeline in float32, same model, 4 steps", 4.0, "×"
)
ONE = Target("GPU", "SD-Turbo shapes, 512², 1 step: one frame per call", 250, "fps")
FOUR = Target("GPU", "SD-Turbo shapes, 512², 1 step: frame_buffer_size 4", 450, "fps")
BATCH = Target("GPU", "Stream Batch over sequential steps, 4 steps", 2.0, "×")
RESIDUAL = Target("GPU", "RCFG self over CFG, 5 steps", 2.05, "×")
ENERGY = Target("GPU", "watts, still scene: filter off over on", 2.4, "×")
START = Target("GPU", "second start to first output, engines kept", 5.0, "s", at_most=True)
GRAPH = Target("GPU", "graph over eager, 1 step", 5.0, "×")
GRAPH_SOON = Target("GPU", "graph, nothing built, 5 s after the start of the process", 100, "fps")
OUTSIDE_GRAPHS = Target("GPU", "a frame's time outside CUDA graphs", 3.0, "%", at_most=True)
PUBLISHED = Target("GPU", "over the published code in eager, same weights, 1 step", 10.0, "×")
VIDEO = Target("GPU", "video, Wan 1.3B shapes, 512², 1 step, TAEHV", 100, "fps")
VIDEO_OUTSIDE = Target("GPU", "a video chunk's time outside its stages", 3.0, "%", at_most=True)

RELEASE = (
    OVERHEAD, NANO_ENGINE, SMALL_ENGINE, DIFFUSERS, ONE, FOUR, BATCH, RESIDUAL, ENERGY, START,
)  # fmt: skip
"""Targets of ``streamcam bench targets``."""
GPU_CHECK = (
    GRAPH, GRAPH_SOON, ONE, FOUR, OUTSIDE_GRAPHS, PUBLISHED, BATCH, RESIDUAL, ENERGY, VIDEO,
    VIDEO_OUTSIDE, START,
)  # fmt: skip
"""Targets of ``python -m benchmarks.gpu_check``."""


def markdown_rows(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield the lines of a table of outcomes in Markdown."""
    yield "| where | what | target | measured | reached | |"
    yield "|---|---|--:|--:|---|---|"
    for outcome in outcomes:
        target, figure, note = outcome
        measured = "" if figure is None else f"{figure:.2f} {target.unit}"
        reached = {True: "yes", False: "no", None: ""}[outcome.reached]
        cells = (target.where, target.what, target.bound_text, measured, reached, note)
        yield f"| {' | '.join(cells)} |"
