"""Image stream over small fake models: any input and any change, outputs in order."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.stages import Text
from streamcam.diffusion.stream import DiffusionStream
from streamcam.errors import EngineError
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from tests.support.streams import RecordingStream

SIZE = 16


def stand_in(**stages: Any) -> ImageModel:
    """Return fast fake models whose images depend on frame, prompt and step."""

    def encode(images: torch.Tensor, _noise: torch.Tensor | None) -> torch.Tensor:
        return F.avg_pool2d(images, 8).mean(1, keepdim=True).expand(-1, 4, -1, -1)

    def denoise(x_t: torch.Tensor, timesteps: torch.Tensor, condition: Any) -> torch.Tensor:
        shift = condition.encoder_hidden_states.mean((1, 2)) + timesteps / 1000
        return 0.5 * x_t + shift.reshape(-1, 1, 1, 1)

    def decode(latents: torch.Tensor) -> torch.Tensor:
        return latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3)

    defaults: dict[str, Any] = {
        "encode_text": lambda text: Text(torch.full((1, 2, 4), len(text) / 10.0), None),
        "encode": encode,
        "denoise": denoise,
        "decode": decode,
        "add_prompt_kv": lambda embeds: embeds,
        "alphas_cumprod": torch.linspace(0.999, 0.005, 1000),
        "latent_shape": (4, SIZE // 8, SIZE // 8),
        "encode_uses_noise": False,
        "time_ids": None,
        "device": torch.device("cpu"),
    }
    return ImageModel(**(defaults | stages))


def stream_of(**values: Any) -> DiffusionStream:
    config = build_config([{"width": SIZE, "height": SIZE, **values}])
    return DiffusionStream(stand_in(), config)


def grey(level: int, index: int) -> Frame:
    image = np.full((SIZE, SIZE, 3), level, np.uint8)
    image[::2] //= 2
    return Frame(image, index, index / 30)


CHANGES = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"prompt": st.text(max_size=9)}),
    st.fixed_dictionaries({"guidance_scale": st.floats(0, 5)}),
    st.fixed_dictionaries({"strength": st.floats(0, 1)}),
    st.fixed_dictionaries({"seed": st.integers(0, 99)}),
    st.fixed_dictionaries({"reset": st.integers(0, 3)}),
    st.fixed_dictionaries({"enable_similar_image_filter": st.booleans()}),
    st.fixed_dictionaries({"similar_image_filter_threshold": st.floats(-1, 1)}),
    st.fixed_dictionaries({"similar_image_filter_max_skip_frame": st.integers(0, 5)}),
)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.integers(1, 4),
    f=st.integers(1, 3),
    cfg_type=st.sampled_from(["none", "full", "self", "initialize"]),
    batched=st.booleans(),
    inputs=st.lists(st.tuples(st.sampled_from([0, 90, 91, 200]), CHANGES), max_size=24),
)
def test_every_frame_comes_out_once_and_in_order_whatever_changes(
    steps: int, f: int, cfg_type: str, batched: bool, inputs: list[tuple[int, dict[str, Any]]]
) -> None:
    stream = stream_of(
        steps=steps, frame_buffer_size=f, cfg_type=cfg_type, use_denoising_batch=batched
    )
    parameters = build_config([{"steps": steps}]).live
    out: list[Frame] = []
    for index, (level, changes) in enumerate(inputs):
        parameters = parameters.changed(changes)
        out += stream(grey(level, index), parameters)
        assert len(out) <= index + 1
    out += stream.drain(parameters)
    assert [frame.index for frame in out] == list(range(len(inputs)))
    assert all(frame.image.shape == (SIZE, SIZE, 3) for frame in out)


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    stream = stream_of(
        steps=3,
        enable_similar_image_filter=True,
        similar_image_filter_max_skip_frame=50,
    )
    parameters = stream.config.live

    def run(first: int, count: int) -> int:
        for index in range(first, first + count):
            text = {"prompt": f"{index // 7}", "enable_similar_image_filter": True}
            stream(grey(index // 40 % 256, index), parameters.changed(text))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = run(0, 1500)
        late = run(1500, 1500)
    finally:
        tracemalloc.stop()
    assert late - early < 100_000


def test_warm_up_makes_its_calls_and_does_not_change_later_outputs() -> None:
    settings = {"steps": 2, "frame_buffer_size": 2, "enable_similar_image_filter": True}
    rows: list[int] = []

    def denoise(x_t: torch.Tensor, *inputs: Any) -> torch.Tensor:
        rows.append(len(x_t))
        return stand_in().denoise(x_t, *inputs)

    cold = stream_of(**settings)
    warm = DiffusionStream(stand_in(denoise=denoise), cold.config.model_copy(update={"warmup": 3}))
    warm.warm_up()
    assert rows == [4, 4, 4]
    assert not warm.counts
    frames, live = [grey(10 * i, i) for i in range(6)], cold.config.live
    outputs, expected = (
        [output for frame in frames for output in stream(frame, live)] + stream.drain(live)
        for stream in (warm, cold)
    )
    assert [frame.index for frame in outputs] == list(range(6))
    assert all((a.image == b.image).all() for a, b in zip(outputs, expected, strict=True))


def test_warm_up_runs_every_stage() -> None:
    streamed = RecordingStream(steps=3, warmup=1)
    streamed.stream.warm_up()
    assert all(streamed.calls[stage] for stage in ("encode_text", "encode", "denoise", "decode"))


def test_frames_of_any_size_are_fitted() -> None:
    stream = stream_of(steps=1)
    live = stream.config.live
    for shape in ((90, 160, 3), (16, 16, 3), (7, 3, 3)):
        (out,) = stream(Frame(np.zeros(shape, np.uint8), 0, 0.0), live)
        assert out.image.shape == (SIZE, SIZE, 3)


def test_an_output_with_nan_ends_the_stream_with_the_reason() -> None:
    config = build_config([{"width": SIZE, "height": SIZE, "steps": 1}])
    models = stand_in(decode=lambda _latents: torch.full((1, 3, SIZE, SIZE), float("nan")))
    with pytest.raises(EngineError, match="output is not a number"):
        DiffusionStream(models, config)(grey(90, 0), config.live)
