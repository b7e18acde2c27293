"""Weights in training: AdamW on a cosine, an average of the weights, and all of it on disk."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

Loss = Callable[[np.random.Generator, float], Mapping[str, Tensor]]
"""Draws for one step, and how far the training is, to terms of which ``loss`` is minimised."""

WARMUP_STEPS = 100
LAST_RATE = 0.02
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Course:
    """How one stage of the training goes."""

    name: str
    folder: Path
    lr: float
    seconds: float
    """Ends it; ``inf`` where only `steps` do."""
    steps: int | None = None
    seed: int = 0
    save_every_s: float = 120.0
    log_every_s: float = 10.0
    clock: Callable[[], float] = field(default=time.monotonic)

    @property
    def path(self) -> Path:
        """Return where its checkpoint is."""
        return self.folder / f"{self.name}.safetensors"


class Learner:
    """The weights of `modules`, their running averages, and the optimiser's moments."""

    def __init__(self, modules: Mapping[str, nn.Module], average: float = 0.999) -> None:
        named = [(f"{m}.{n}", p) for m, part in modules.items() for n, p in part.named_parameters()]
        self.weights: dict[str, nn.Parameter] = dict(named)
        for weight in self.weights.values():
            weight.requires_grad_(True)
        self.averages = {name: w.detach().clone() for name, w in named}
        self.optimiser = torch.optim.AdamW(
            self.weights.values(), betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )
        self.step = 0
        self.elapsed_s = 0.0
        self._average = average

    def learn(self, loss: Tensor, lr: float) -> None:
        """Make one step against the gradient of `loss`.

        Raises:
            RuntimeError: the gradient is not finite; the weights are left as they were.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0, error_if_nonfinite=True)
        self.optimiser.step()
        self.step += 1
        # The average begins short, so that the first weights are soon forgotten.
        towards = 1 - min(self._average, self.step / (self.step + 20))
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.averages[name].lerp_(weight, towards)

    @torch.no_grad()
    def settle(self) -> None:
        """Put the averages in the place of the weights."""
        for name, weight in self.weights.items():
            weight.copy_(self.averages[name])
            weight.requires_grad_(False)
            weight.grad = None

    def save(self, path: Path) -> None:
        """Write everything, whole or not at all."""
        tensors: dict[str, Tensor] = {}
        for name, weight in self.weights.items():
            tensors[f"weight/{name}"] = weight.detach().contiguous()
            tensors[f"average/{name}"] = self.averages[name].contiguous()
            moments = self.optimiser.state.get(weight, {})
            for key in MOMENTS:
                if key in moments:
                    tensors[f"{key}/{name}"] = moments[key].contiguous()
        progress = {"step": str(self.step), "elapsed_s": repr(self.elapsed_s)}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata=progress)
        partial.replace(path)

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Take everything up where `save` left it."""
        with safe_open(path, "pt") as file:
            progress, stored = file.metadata(), set(file.keys())
            self.step = int(progress["step"])
            self.elapsed_s = float(progress["elapsed_s"])
            for name, weight in self.weights.items():
                weight.copy_(file.get_tensor(f"weight/{name}"))
                self.averages[name].copy_(file.get_tensor(f"average/{name}"))
                if f"{MOMENTS[0]}/{name}" in stored:
                    self.optimiser.state[weight] = self._moments(file, name, weight)

    def _moments(self, file: Any, name: str, weight: Tensor) -> dict[str, Tensor]:
        steps = torch.tensor(float(self.step), device=weight.device)
        state = {"step": steps}
        for key in MOMENTS:
            state[key] = torch.empty_like(weight).copy_(file.get_tensor(f"{key}/{name}"))
        return state


class Log:
    """Lines of JSON, one every few seconds, with the means of what happened since the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **values: Any) -> None:
        """Append a line, and show it."""
        line = json.dumps(
            {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in values.items()}
        )
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


def progress(learner: Learner, course: Course) -> float:
    """Return how far the stage is, from 0 to 1."""
    by_time = learner.elapsed_s / course.seconds
    by_steps = learner.step / course.steps if course.steps else 0.0
    return max(by_time, by_steps)


def rate(step: int, done: float) -> float:
    """Return the share of the learning rate: a short rise, then a cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return min(1.0, (step + 1) / WARMUP_STEPS) * (LAST_RATE + (1 - LAST_RATE) * cosine)


def fit(learner: Learner, loss: Loss, course: Course, log: Log) -> None:
    """Train until the course is over, from its checkpoint if there is one; settle on the average.

    Step n draws from the course's seed and n alone, so that a resumed training goes on exactly
    as it would have.
    """
    if course.path.exists():
        learner.load(course.path)
    saved = logged = course.clock()
    sums: dict[str, float] = {}
    since = learner.step
    while (done := progress(learner, course)) < 1:
        began = course.clock()
        terms = loss(np.random.default_rng((course.seed, learner.step)), done)
        learner.learn(terms["loss"], course.lr * rate(learner.step, done))
        for key, value in terms.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach())
        now = course.clock()
        learner.elapsed_s += now - began
        over = progress(learner, course) >= 1
        if over or now - logged >= course.log_every_s:
            count = learner.step - since
            means = {key: value / count for key, value in sums.items()}
            speed = {"ms_per_step": 1000 * (now - logged) / count}
            log.write(stage=course.name, step=learner.step, done=done, **speed, **means)
            sums, since, logged = {}, learner.step, now
        if over or now - saved >= course.save_every_s:
            learner.save(course.path)
            saved = now
    learner.settle()
