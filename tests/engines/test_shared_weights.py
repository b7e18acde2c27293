"""Weights that an engine shares with its stage: found by name, in the layout it expects."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from streamcam.engines.flat_stage import FlatStage, flatten_args
from streamcam.engines.shared_weights import Constants
from streamcam.errors import EngineError

CPU = torch.device("cpu")


class Layers(nn.Module):
    """A convolution, a weight used twice, a buffer that is not stored, and a tensor in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.shift: Tensor
        self.register_buffer("shift", torch.ones(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x).permute(0, 2, 3, 1)
        y = self.second(self.first(y)) + self.shift
        return y * torch.tensor([1.0, 2.0, 3.0, 4.0])


@pytest.fixture
def flat() -> FlatStage:
    stage = Layers().eval().requires_grad_(False)
    return FlatStage(stage, flatten_args((torch.ones(1, 3, 8, 8),))[2], [True])


@pytest.fixture
def constants(flat: FlatStage, tmp_path: Path) -> Constants:
    """Return the constants of `flat`, stored and read again."""
    with torch.no_grad():
        program = torch.export.export(flat, (torch.ones(1, 3, 8, 8),))
    Constants.own(program).save(tmp_path)
    return Constants.load(tmp_path)


def test_they_are_the_tensors_of_the_stage_and_what_its_code_makes(
    flat: FlatStage, constants: Constants
) -> None:
    tensors = constants.on(flat, CPU)
    own = dict(flat.named_parameters(remove_duplicate=False)) | dict(flat.named_buffers())
    for name, tensor in own.items():
        if name in tensors:
            assert tensors[name].data_ptr() == tensor.data_ptr()
    assert {"stage.convolution.weight", "stage.second.weight", "stage.shift"} <= set(tensors)
    [made] = [each for name, each in tensors.items() if name not in own]
    assert made.tolist() == [1, 2, 3, 4]


def test_a_weight_in_another_layout_or_dtype_is_copied(
    flat: FlatStage, constants: Constants
) -> None:
    weight = flat.stage.convolution.weight  # type: ignore[union-attr]
    expected = weight.clone()
    flat.to(memory_format=torch.channels_last)
    copied = constants.on(flat, CPU)["stage.convolution.weight"]
    assert copied.is_contiguous()
    torch.testing.assert_close(copied, expected)
    assert constants.on(flat.half(), CPU)["stage.shift"].dtype == torch.float32


def test_another_stage_is_refused(flat: FlatStage, constants: Constants) -> None:
    flat.stage.convolution = nn.Conv2d(3, 5, 3)
    with pytest.raises(EngineError, match=r"another stage\.convolution\.weight"):
        constants.on(flat, CPU)
