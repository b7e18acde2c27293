"""The cache key of an engine changes with all that its files depend on, and nothing else."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from streamcam.engines import cache_key as module
from streamcam.engines.cache_key import cache_key, hash_key, hash_weights
from streamcam.engines.flat_stage import FlatStage, flatten_args
from tests.engines.conftest import call, small


class FakeEngine:
    name = "fake"
    weights = torch.float32

    def __init__(self, dtype: torch.dtype = torch.float32, version: str = "1") -> None:
        self.dtype = dtype
        self.version = version

    def supports(self, flat: FlatStage) -> bool:  # noqa: ARG002
        return True

    def fingerprint(self) -> Mapping[str, str]:
        return {"version": self.version, "device": "a processor"}


def key(
    *,
    seed: int = 0,
    scale: float = 1.0,
    edit: Callable[[Any], None] = lambda _: None,
    **engine_args: Any,
) -> str:
    stage = small(seed, scale)
    with torch.no_grad():
        edit(stage)
    tensors, _, _ = flatten_args(engine_args.pop("given", call()))
    return hash_key(cache_key(stage, hash_weights(stage), tensors, FakeEngine(**engine_args)))


def test_the_same_stage_has_the_same_key_at_every_start() -> None:
    assert key() == key()


def attended(groups: int) -> Callable[[Any], None]:
    class Attention:
        def __init__(self) -> None:
            self.groups = groups

    def edit(stage: Any) -> None:
        stage.convolution.processor = Attention()

    return edit


def test_everything_that_files_depend_on_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def lora(stage: Any) -> None:
        stage.convolution.weight[0, 0, 0, 0] += 1e-6

    keys = [
        key(),
        key(seed=1),
        key(scale=2.0),
        key(edit=lora),
        key(edit=attended(1)),
        key(edit=attended(2)),
        key(given=call(rows=3)),
        key(given=call(side=24)),
        key(given=tuple(call())[:1]),
        key(dtype=torch.bfloat16),
        key(version="2"),
    ]
    monkeypatch.setattr(module, "__version__", "99")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_the_path_of_a_model_does_not_change_the_key() -> None:
    def named(path: str) -> Callable[[Any], None]:
        def edit(stage: Any) -> None:
            stage.convolution.config = {"_name_or_path": path, "act_fn": "silu"}

        return edit

    assert key(edit=named("here")) == key(edit=named("there"))
