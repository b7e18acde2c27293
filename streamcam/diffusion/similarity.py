"""Stochastic similarity filter (StreamDiffusion, section 3.5): skip frames like the last one.

The metrics and the probability are plain functions on frames as float32 vectors in [-1, 1].
"""

from collections.abc import Callable

import numpy as np

from streamcam.pixels import Vector
from streamcam.settings.parameters import Parameters

Metric = Callable[[Vector, Vector], float]

SENSOR_NOISE = (1 / 127.5) ** 2
"""Variance of one grey level: a smaller difference counts as none."""


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
"""Metrics by ``similar_image_filter_metric``."""


def skip_probability(similarity: float, threshold: float) -> float:
    """Return P(skip) = max(0, (similarity - threshold) / (1 - threshold)); 0 at threshold 1."""
    if threshold >= 1:
        return 0.0
    return max(0.0, 1 - (1 - similarity) / (1 - threshold))


def skips(probability: float, draw: float, skipped: int, max_skip: int) -> bool:
    """Decide on a frame that follows `skipped` skipped ones, given a uniform `draw` in [0, 1)."""
    return skipped < max_skip and 0 < probability >= draw


class SimilarityFilter:
    """Decide frame by frame which ones to skip.

    Args:
        metric: the similarity of two frames.
        latency: processed frames until the output has caught up with a change of parameters.
        seed: what skips are drawn from.
    """

    def __init__(self, metric: Metric, latency: int, seed: int) -> None:
        self._metric = metric
        self._latency = latency
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Assign all state."""
        self._rng = np.random.default_rng(seed)
        self._last_processed: Vector | None = None
        self._last_shown: Vector | None = None
        self._skipped_in_a_row = 0
        self._until_caught_up = 0

    def parameters_changed(self) -> None:
        """Skip nothing until the output has caught up with the new parameters."""
        self._until_caught_up = self._latency

    def shown(self, vector: Vector | None) -> None:
        """Take the frame whose output is the newest to be shown; None if it was not compared."""
        self._last_shown = vector

    def should_skip(self, vector: Vector | None, parameters: Parameters) -> bool:
        """Decide whether to skip a frame; the caller then does so.

        Args:
            vector: the frame; None to process it uncompared.
            parameters: the threshold and the number of skips in a row.
        """
        if vector is not None and self._is_similar(vector, parameters):
            self._skipped_in_a_row += 1
            return True
        self._last_processed = vector
        self._skipped_in_a_row = 0
        self._until_caught_up = max(0, self._until_caught_up - 1)
        return False

    def _is_similar(self, vector: Vector, parameters: Parameters) -> bool:
        # Never while the output shows another scene, or other parameters, than it should:
        # the frames in flight are processed to the end first.
        if self._last_processed is None or self._last_shown is None or self._until_caught_up:
            return False
        threshold = parameters.similar_image_filter_threshold
        if self._metric(vector, self._last_shown) < threshold:
            return False
        probability = skip_probability(self._metric(vector, self._last_processed), threshold)
        return skips(
            probability,
            self._rng.random(),
            self._skipped_in_a_row,
            parameters.similar_image_filter_max_skip_frame,
        )
