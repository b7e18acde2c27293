"""Prompts: encoded once, blended by weight, linearly or spherically."""

import pytest
import torch

from streamcam.diffusion.conditioning import LruCache, linear, slerp, slerp_between
from tests.support.streams import RecordingStream, images, moving

A, B = torch.randn(2, 1, 7, 16, generator=torch.Generator().manual_seed(0))


def test_a_text_is_encoded_once() -> None:
    stream = RecordingStream(negative_prompt="blurry", cfg_type="full")
    changes = {2: {"prompt": "a dog"}, 4: {"prompt": "a cat"}, 6: {"prompt": [["a dog", 1.0]]}}
    stream(moving(8), changes)
    assert stream.calls["encode_text"] == 3  # a cat, blurry, a dog


def test_only_the_ratio_of_weights_counts() -> None:
    torch.testing.assert_close(linear([A, B], [1, 3]), 0.25 * A + 0.75 * B)
    torch.testing.assert_close(linear([A, B], [0.2, 0.6]), linear([A, B], [1, 3]))


def test_slerp_turns_at_an_even_rate_from_one_end_to_the_other() -> None:
    torch.testing.assert_close(slerp_between(A, B, 0), A)
    torch.testing.assert_close(slerp_between(A, B, 1), B)
    a, b = A / A.norm(dim=-1, keepdim=True), B / B.norm(dim=-1, keepdim=True)
    angle = (a * b).sum(-1).arccos()
    for t in (0.25, 0.5, 0.9):
        point = slerp_between(a, b, t)
        torch.testing.assert_close(point.norm(dim=-1), torch.ones(1, 7))
        torch.testing.assert_close((a * point).sum(-1).clamp(-1, 1).arccos(), t * angle)


@pytest.mark.parametrize("other", [A, -A, 2 * A, torch.zeros_like(A)])
def test_slerp_is_finite_where_there_is_no_great_circle(other: torch.Tensor) -> None:
    assert torch.isfinite(slerp_between(A, other, 0.3)).all()
    torch.testing.assert_close(slerp_between(A, A, 0.3), A)


def test_slerp_of_several_ignores_the_scale_of_the_weights() -> None:
    torch.testing.assert_close(slerp([A, B, A], [1, 2, 3]), slerp([A, B, A], [2, 4, 6]))
    torch.testing.assert_close(slerp([A], [5]), A)


@pytest.mark.parametrize("interpolation", ["linear", "slerp"])
@pytest.mark.parametrize("model", ["random:tiny-sd-turbo", "random:tiny-sdxl"])
def test_blends_move_from_one_prompt_to_the_other(interpolation: str, model: str) -> None:
    def image(prompt: object) -> torch.Tensor:
        stream = RecordingStream(
            None, model=model, prompt=prompt, prompt_interpolation=interpolation, t_index_list="10"
        )
        stream(moving(1))
        return stream.latents[0]

    cat, dog = image("a cat"), image("a red dog in the snow")
    ends = image([["a cat", 1], ["a red dog in the snow", 0]])
    assert torch.equal(ends, cat)
    middle = image([["a cat", 1], ["a red dog in the snow", 1]])
    assert 0 < (middle - cat).norm() < 1.5 * (dog - cat).norm()
    assert 0 < (middle - dog).norm() < 1.5 * (dog - cat).norm()


def test_a_negative_prompt_is_not_encoded_in_a_mode_without_one() -> None:
    plain, negative = RecordingStream(), RecordingStream(negative_prompt="blurry")
    first, second = plain(moving(3)), negative(moving(3))
    assert negative.calls["encode_text"] == plain.calls["encode_text"] == 1
    assert (images(first) == images(second)).all()


def test_the_cache_drops_the_least_recently_used_result() -> None:
    cache: LruCache[int] = LruCache(2)
    made = []

    def make(key: str) -> int:
        return cache(key, lambda: made.append(key) or len(made))

    for key in ("a", "b", "a", "c", "a", "b"):
        make(key)
    assert made == ["a", "b", "c", "b"]
