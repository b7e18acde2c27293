"""Stochastic similarity filter (section 3.5): leave out frames that look like the last one.

Plain functions on frames as float32 vectors in [-1, 1]; `Stream` keeps the state.
"""

from collections.abc import Callable

import numpy as np

from streamcam.pixels import Vector

Metric = Callable[[Vector, Vector], float]

SENSOR_NOISE = (1 / 127.5) ** 2
"""Variance of one grey level: what differs by less counts as the same."""


def cosine(a: Vector, b: Vector) -> float:
    """Return the paper's similarity, -1 to 1. On a dark stage it sees little but the dark."""
    lengths = max(float(np.linalg.norm(a)), 1e-6) * max(float(np.linalg.norm(b)), 1e-6)
    return float(a @ b) / lengths


def centred(a: Vector, b: Vector) -> float:
    """Return the cosine about the mean of both frames, -1 to 1.

    Structure counts, whatever the brightness it stands on, and a change of brightness counts
    against the contrast there is. Variances are padded by one grey level, as in SSIM, so that
    two empty frames are alike.
    """
    mean = (float(a.mean()) + float(b.mean())) / 2
    a, b = a - mean, b - mean
    pad = SENSOR_NOISE * len(a)
    lengths = float(np.sqrt(float(a @ a) * float(b @ b)))
    return (float(a @ b) + pad) / (lengths + pad)


METRICS: dict[str, Metric] = {"centred": centred, "cosine": cosine}


def skip_probability(similarity: float, threshold: float) -> float:
    """Return P(skip) = max(0, (similarity - threshold) / (1 - threshold)); 0 at threshold 1."""
    if threshold >= 1:
        return 0.0
    return max(0.0, 1 - (1 - similarity) / (1 - threshold))


def skips(probability: float, draw: float, skipped: int, max_skip: int) -> bool:
    """Decide on a frame that follows `skipped` skipped ones, given a uniform `draw` in [0, 1)."""
    return skipped < max_skip and 0 < probability >= draw
