"""Prompts: encoded once, blended by weight, linearly or spherically."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from streamcam.diffusion.conditioning import LruCache, linear, slerp, slerp_between
from streamcam.diffusion.image_model import encode_text
from streamcam.diffusion.stages import Text, dropped_notice
from streamcam.diffusion.stream import DiffusionStream
from streamcam.errors import ModelError, PromptError
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from tests.diffusion.test_stream import SIZE, grey, stand_in
from tests.support.streams import RecordingStream, images, moving, still

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


@pytest.mark.parametrize("changes", [{}, {"reset": 1}, {"seed": 9}])
def test_a_text_that_cannot_be_encoded_changes_nothing(changes: dict[str, Any]) -> None:
    def stream() -> DiffusionStream:
        config = build_config([{"width": SIZE, "height": SIZE, "steps": 2, "cfg_type": "full"}])
        return DiffusionStream(stand_in(encode_text=encode_text), config)

    def encode_text(text: str) -> Text:
        if text == "a novel":
            raise RuntimeError("out of memory")
        return Text(torch.full((1, 2, 4), len(text) / 10.0), None)

    plain, asked = stream(), stream()
    live = plain.config.live
    expected: list[Frame] = []
    outputs: list[Frame] = []
    for index, level in enumerate((20, 90, 200, 140)):
        expected += plain(grey(level, index), live)
        for field in ("prompt", "negative_prompt"):
            with pytest.raises(PromptError, match="out of memory") as refused:
                asked(grey(level, index), live.changed({field: "a novel"} | changes))
            assert refused.value.text == "a novel"
        outputs += asked(grey(level, index), live)
    assert [f.index for f in outputs] == [f.index for f in expected]
    np.testing.assert_array_equal(images(outputs), images(expected))


def test_a_negative_prompt_that_nothing_reads_is_not_encoded() -> None:
    stream = RecordingStream(steps=1, cfg_type="none")
    stream(still(2), {1: {"negative_prompt": "blurry"}})
    assert stream.calls["encode_text"] == 1


# The random models spell texts letter by letter.
FITS, TOO_LONG = "a" * 75, "a" * 75 + " then a castle"


@pytest.fixture(scope="module", params=["tiny-sd-1.5", "tiny-sdxl"])
def pipe(request: pytest.FixtureRequest) -> Any:
    return random_pipeline(request.param)


def test_tokens_that_a_model_has_no_room_for_are_said(pipe: Any) -> None:
    lines: list[str] = []
    cpu = torch.device("cpu")
    assert encode_text(pipe, FITS, cpu, lines.append).dropped_tokens == 0
    assert lines == []
    encoded = encode_text(pipe, TOO_LONG, cpu, lines.append)
    assert encoded.dropped_tokens == 11
    assert lines == [dropped_notice(TOO_LONG, encoded)]
    assert lines[0].startswith("the last 11 tokens of the prompt are not read, as this model reads")
    assert "reads 75" in lines[0]
    assert lines[0].endswith('then a castle"')


def test_the_remark_on_a_long_prompt_stays_as_long_as_the_prompt() -> None:
    stream = RecordingStream(steps=1)
    heard = []
    for index, text in enumerate(("a cat", TOO_LONG, TOO_LONG, "a dog")):
        stream.stream(still(1, first=index)[0], stream.config.live.changed({"prompt": text}))
        heard.append(stream.stream.notice)
    assert [bool(notice) for notice in heard] == [False, True, True, False]
    assert "the last 11 tokens" in heard[1]


def test_embeddings_that_are_not_finite_refuse_the_text(pipe: Any) -> None:
    broken = copy.deepcopy(pipe)
    with torch.no_grad():
        broken.text_encoder.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        encode_text(broken, "a cat", torch.device("cpu"))
