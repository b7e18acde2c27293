"""What each kind of LoRA adds to a layer, against its formula written out or the layers it is."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from streamcam.models.lora_updates import MisfitError, updated_bias, updated_weight

OUT, IN, RANK = 6, 8, 3
ALPHA_OVER_RANK = 0.5


def scale_of(_rank: int) -> float:
    return ALPHA_OVER_RANK


@pytest.fixture
def rand() -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator)


def change(weight: Tensor, tensors: dict[str, Tensor], strength: float = 1.0) -> Tensor:
    return updated_weight(weight, tensors, scale_of, strength) - weight


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_a_convolution_is_two_after_each_other(rand: Callable[..., Tensor]) -> None:
    weight, down, up = rand(OUT, IN, 3, 3), rand(RANK, IN, 3, 3), rand(OUT, RANK, 1, 1)
    x = rand(1, IN, 5, 5)
    by_layers = F.conv2d(F.conv2d(x, down), up)
    close(F.conv2d(x, change(weight, {"down": down, "up": up})), ALPHA_OVER_RANK * by_layers)


def test_a_convolution_with_a_core_is_three_after_each_other(rand: Callable[..., Tensor]) -> None:
    weight, down, up = rand(OUT, IN, 3, 3), rand(RANK, IN, 1, 1), rand(OUT, RANK, 1, 1)
    mid, x = rand(RANK, RANK, 3, 3), rand(1, IN, 5, 5)
    by_layers = F.conv2d(F.conv2d(F.conv2d(x, down), mid), up)
    added = change(weight, {"down": down, "up": up, "mid": mid})
    close(F.conv2d(x, added), ALPHA_OVER_RANK * by_layers)


def test_loha_multiplies_two_products(rand: Callable[..., Tensor]) -> None:
    a, b, c, d = rand(OUT, RANK), rand(RANK, IN), rand(OUT, RANK), rand(RANK, IN)
    tensors = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d}
    close(change(rand(OUT, IN), tensors), ALPHA_OVER_RANK * (a @ b) * (c @ d))


def test_loha_of_a_convolution_multiplies_two_with_cores(rand: Callable[..., Tensor]) -> None:
    tensors = {
        f"hada_{name}": rand(*shape)
        for i in (1, 2)
        for name, shape in (
            (f"w{i}_a", (RANK, OUT)),
            (f"w{i}_b", (RANK, IN)),
            (f"t{i}", (RANK, RANK, 3, 3)),
        )
    }
    one, two = (
        sum(
            tensors[f"hada_t{i}"][p, q]
            * tensors[f"hada_w{i}_a"][p][:, None, None, None]
            * tensors[f"hada_w{i}_b"][q][None, :, None, None]
            for p in range(RANK)
            for q in range(RANK)
        )
        for i in (1, 2)
    )
    close(change(rand(OUT, IN, 3, 3), tensors), ALPHA_OVER_RANK * one * two)


def test_lokr_of_whole_factors_has_no_alpha(rand: Callable[..., Tensor]) -> None:
    one, two = rand(2, 4), rand(3, 2)
    close(change(rand(OUT, IN), {"lokr_w1": one, "lokr_w2": two}), torch.kron(one, two))


def test_lokr_takes_factors_of_low_rank(rand: Callable[..., Tensor]) -> None:
    one, a, b = rand(2, 4), rand(3, 1), rand(1, 2)
    tensors = {"lokr_w1": one, "lokr_w2_a": a, "lokr_w2_b": b}
    close(change(rand(OUT, IN), tensors), ALPHA_OVER_RANK * torch.kron(one, a @ b))


def test_lokr_reaches_every_place_of_a_convolution(rand: Callable[..., Tensor]) -> None:
    one, two = rand(2, 4), rand(3, 2, 3, 3)
    added = change(rand(OUT, IN, 3, 3), {"lokr_w1": one, "lokr_w2": two})
    close(added[..., 1, 2], torch.kron(one, two[..., 1, 2]))


@pytest.mark.parametrize("shape", [(OUT,), (OUT, 1)])
def test_dora_gives_every_output_its_length(
    rand: Callable[..., Tensor], shape: tuple[int, ...]
) -> None:
    weight, down, up, lengths = rand(OUT, IN), rand(RANK, IN), rand(OUT, RANK), rand(OUT).abs()
    tensors = {"down": down, "up": up, "magnitude": lengths.reshape(shape)}
    fused = updated_weight(weight, tensors, scale_of, 1.0)
    close(fused.norm(dim=1), lengths)
    directions = weight + ALPHA_OVER_RANK * up @ down
    close(F.cosine_similarity(fused, directions, dim=1), torch.ones(OUT))


def test_dora_may_give_every_input_its_length(rand: Callable[..., Tensor]) -> None:
    lengths = rand(IN).abs()
    tensors = {
        "down": rand(RANK, IN, 1, 1),
        "up": rand(OUT, RANK, 1, 1),
        "magnitude": lengths.reshape(1, IN, 1, 1),
    }
    fused = updated_weight(rand(OUT, IN, 1, 1), tensors, scale_of, 1.0)
    close(fused.flatten(1).norm(dim=0), lengths)


def test_strength_goes_from_the_plain_weights_to_those_of_dora(
    rand: Callable[..., Tensor],
) -> None:
    weight = rand(OUT, IN)
    tensors = {"down": rand(RANK, IN), "up": rand(OUT, RANK), "magnitude": rand(OUT).abs()}
    close(change(weight, tensors, 0.0), torch.zeros_like(weight))
    close(change(weight, tensors, 0.25), 0.25 * change(weight, tensors))


def test_differences_are_added_as_they_are(rand: Callable[..., Tensor]) -> None:
    diff = rand(OUT)
    close(change(rand(OUT), {"diff": diff}, 0.5), 0.5 * diff)


def test_biases_are_changed_too(rand: Callable[..., Tensor]) -> None:
    bias, diff, up_bias = rand(OUT), rand(OUT), rand(OUT)
    tensors = {"diff_b": diff, "up_bias": up_bias, "down": rand(RANK, IN)}
    fused = updated_bias(bias, tensors, scale_of, 2.0)
    close(fused, bias + 2 * (diff + ALPHA_OVER_RANK * up_bias))


def test_a_change_of_another_shape_is_refused(rand: Callable[..., Tensor]) -> None:
    with pytest.raises(MisfitError, match="6x8 where the model has 8x6"):
        change(rand(IN, OUT), {"down": rand(RANK, IN), "up": rand(OUT, RANK)})


def test_weights_that_overflow_their_dtype_are_refused(rand: Callable[..., Tensor]) -> None:
    tensors = {"diff": torch.full((OUT,), 1e6)}
    with pytest.raises(MisfitError, match="no numbers"):
        updated_weight(rand(OUT).half(), tensors, scale_of, 1.0)
