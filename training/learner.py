"""Train weights with AdamW on a cosine schedule, average them (EMA), and checkpoint everything."""

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
"""Return named terms for a step's random generator and progress; ``loss`` is minimised."""

WARMUP_STEPS = 100
LAST_RATE = 0.02
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Stage:
    """Settings of one stage of the training."""

    name: str
    folder: Path
    lr: float
    seconds: float
    """Time limit; ``inf`` if only `steps` ends the stage."""
    steps: int | None = None
    seed: int = 0
    save_every_s: float = 120.0
    log_every_s: float = 10.0
    clock: Callable[[], float] = field(default=time.monotonic)

    @property
    def path(self) -> Path:
        """Return the path of the checkpoint."""
        return self.folder / f"{self.name}.safetensors"


class Learner:
    """Weights of `modules`, their exponential moving averages, and the optimiser's moments."""

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        average: float = 0.999,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        """`rates` are multiples of the learning rate, by module; 1 if not given."""
        named = [(f"{m}.{n}", p) for m, part in modules.items() for n, p in part.named_parameters()]
        self.weights: dict[str, nn.Parameter] = dict(named)
        for weight in self.weights.values():
            weight.requires_grad_(True)
        self.averages = {name: w.detach().clone() for name, w in named}
        self.optimiser = torch.optim.AdamW(
            [
                {
                    "params": [w for name, w in named if name.startswith(f"{module}.")],
                    "rate": (rates or {}).get(module, 1.0),
                }
                for module in modules
            ],
            betas=(0.9, 0.98),
            weight_decay=0.0,
            fused=True,
        )
        self.step = 0
        self.elapsed_s = 0.0
        self._average = average

    def update(self, loss: Tensor, lr: float) -> None:
        """Take one optimiser step on `loss`.

        Raises:
            RuntimeError: the gradient is not finite; the weights are unchanged.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = lr * group["rate"]
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0, error_if_nonfinite=True)
        self.optimiser.step()
        self.step += 1
        # The average covers few steps at first, so that the first weights are soon forgotten.
        weight_of_new = 1 - min(self._average, self.step / (self.step + 20))
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.averages[name].lerp_(weight, weight_of_new)

    @torch.no_grad()
    def use_averages(self) -> None:
        """Replace the weights by their averages."""
        for name, weight in self.weights.items():
            weight.copy_(self.averages[name])
            weight.requires_grad_(False)
            weight.grad = None

    def save(self, path: Path) -> None:
        """Write weights, averages and moments atomically."""
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
        """Restore the state that `save` wrote."""
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
    """Log of JSON lines, in a file and on stdout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **values: Any) -> None:
        """Append a line, and print it."""
        line = json.dumps(
            {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in values.items()}
        )
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


def progress(learner: Learner, stage: Stage) -> float:
    """Return the progress of the stage, from 0 to 1."""
    by_time = learner.elapsed_s / stage.seconds
    by_steps = learner.step / stage.steps if stage.steps else 0.0
    return max(by_time, by_steps)


def rate(step: int, done: float) -> float:
    """Return the factor of the learning rate: a short warm-up, then a cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return min(1.0, (step + 1) / WARMUP_STEPS) * (LAST_RATE + (1 - LAST_RATE) * cosine)


def fit(learner: Learner, loss: Loss, stage: Stage, log: Log) -> None:
    """Train until the stage is over, from its checkpoint if there is one; then use the averages.

    The random draws of step n depend on the stage's seed and n alone, so that a resumed training
    continues exactly as it would have.
    """
    if stage.path.exists():
        learner.load(stage.path)
    saved = logged = stage.clock()
    sums: dict[str, float] = {}
    since = learner.step
    while (done := progress(learner, stage)) < 1:
        began = stage.clock()
        terms = loss(np.random.default_rng((stage.seed, learner.step)), done)
        learner.update(terms["loss"], stage.lr * rate(learner.step, done))
        for key, value in terms.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach())
        now = stage.clock()
        learner.elapsed_s += now - began
        over = progress(learner, stage) >= 1
        if over or now - logged >= stage.log_every_s:
            count = learner.step - since
            means = {key: value / count for key, value in sums.items()}
            speed = {"ms_per_step": 1000 * (now - logged) / count}
            log.write(stage=stage.name, step=learner.step, done=done, **speed, **means)
            sums, since, logged = {}, learner.step, now
        if over or now - saved >= stage.save_every_s:
            learner.save(stage.path)
            saved = now
    learner.use_averages()
