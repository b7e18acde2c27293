"""The compiled engine: the same pictures as the eager one, and nothing recompiled on air."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from streamcam.accelerate.choice import COMPILERS
from streamcam.accelerate.store import Store
from streamcam.config import build
from streamcam.diffusion.models import load_models
from tests.accelerate.storms import SETTINGS, storm
from tests.streams import TINY, Streamed, images, moving

compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="compiling needs a C++ compiler"
)


@compiler
def test_a_storm_of_live_changes_gives_the_same_pictures_and_compiles_nothing(
    tmp_path: Path,
) -> None:
    config = build([TINY, SETTINGS, {"acceleration": "compiled", "engine_dir": str(tmp_path)}])
    frames, changes = moving(24, size=32), storm()
    eager = images(Streamed(**SETTINGS)(frames, changes))
    Streamed(load_models(config, lambda _: None, builds_here=True), **SETTINGS)(frames[:2])
    assert len(Store(tmp_path).entries()) == 3
    torch._dynamo.utils.counters.clear()
    # A second start: it finds what the first has compiled.
    said: list[str] = []
    second = Streamed(load_models(config, said.append, builds_here=True), **SETTINGS)
    ours = images(second(frames, changes))
    assert np.abs(ours.astype(int) - eager).max() <= 1
    assert sum("is ready, " in line for line in said) == 3, said
    assert len(Store(tmp_path).entries()) == 3
    assert not torch._dynamo.utils.counters["stats"]
    assert not torch._dynamo.utils.counters["inductor"]
