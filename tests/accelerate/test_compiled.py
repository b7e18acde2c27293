"""The compiled engine: the same pictures as the eager one, and nothing recompiled on air."""

import shutil

import numpy as np
import pytest
import torch

from tests.streams import Streamed, images, moving

compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")),
    reason="torch.compile needs a C++ compiler on the CPU",
)


@compiler
def test_compiled_equals_eager_and_live_changes_recompile_nothing() -> None:
    settings = {"cfg_type": "initialize", "negative_prompt": "blurry", "width": 32, "height": 32}
    changes = {
        2: {"prompt": "a red dog"},
        3: {"negative_prompt": "cats", "guidance_scale": 0.5},
        4: {"t_index_list": [10, 20], "delta": 0.3},
        5: {"seed": 9, "num_inference_steps": 40},
    }
    frames = moving(8, size=32)
    eager = images(Streamed(**settings)(frames, changes))
    compiled = Streamed(acceleration="compiled", **settings)
    compiled(frames[:2])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 3
    with torch.compiler.set_stance("fail_on_recompile"):
        ours = images(compiled(frames, changes))
    assert np.abs(ours.astype(int) - eager).max() <= 1
