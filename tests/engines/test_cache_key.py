"""The key of an engine: everything that matters changes it, nothing else does."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from streamcam.engines import cache_key as module
from streamcam.engines.cache_key import cache_key, hash_key, hash_weights
from streamcam.engines.flat_stage import FlatStage, flatten_args
from tests.engines.conftest import call, small


class Fake:
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
    **others: Any,
) -> str:
    stage = small(seed, scale)
    with torch.no_grad():
        edit(stage)
    tensors, _, _ = flatten_args(others.pop("given", call()))
    return hash_key(cache_key(stage, hash_weights(stage), tensors, Fake(**others)))


def test_the_same_stage_has_the_same_key_at_every_start() -> None:
    assert key() == key()


def attended(groups: int) -> Callable[[Any], None]:
    class Attention:
        def __init__(self) -> None:
            self.groups = groups

    def edit(stage: Any) -> None:
        stage.convolution.processor = Attention()

    return edit


def test_all_that_matters_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_where_a_model_came_from_does_not_matter() -> None:
    def named(path: str) -> Callable[[Any], None]:
        def edit(stage: Any) -> None:
            stage.convolution.config = {"_name_or_path": path, "act_fn": "silu"}

        return edit

    assert key(edit=named("here")) == key(edit=named("there"))
