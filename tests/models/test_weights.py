"""NaN and infinity among weights are found in every dtype; settings are read within bounds."""

from pathlib import Path

import pytest
import torch

from streamcam.models.file_headers import read_json
from streamcam.models.weights import not_finite

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 517, -1])
def test_one_value_that_is_no_number_is_found(dtype: torch.dtype, bad: float, place: int) -> None:
    weights = torch.full((1031,), 1.0)
    assert not not_finite(weights.to(dtype))
    weights[place] = bad
    assert not_finite(weights.to(dtype))


def test_large_weights_are_numbers() -> None:
    assert not not_finite(torch.full((100_000,), 65_504.0).half())


@pytest.mark.parametrize("tensor", [torch.empty(0), torch.tensor(5), torch.tensor([True])])
def test_what_holds_no_floating_point_values_is_finite(tensor: torch.Tensor) -> None:
    assert not not_finite(tensor)


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "null", "", "{", "\xff"])
def test_json_that_is_no_table_is_a_value_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError):
        read_json(tmp_path / "config.json")
