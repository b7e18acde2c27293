"""Pipeline rules: what each pipeline takes and gives at a time, and cannot run with."""

import pytest

from streamcam.errors import ConfigError, ParameterError
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.pipeline_rules import PIPELINE_RULES


def test_every_pipeline_has_rules() -> None:
    field = Config.model_json_schema()["properties"]["pipeline"]
    assert set(PIPELINE_RULES) == set(field["enum"])


def test_the_image_pipeline_takes_and_gives_the_frames_of_one_call() -> None:
    config = build_config([{"frame_buffer_size": 3, "chunk_latents": 2}])
    assert (config.chunk, config.waiting, config.burst) == (3, 3, 3)


def test_the_video_pipeline_takes_and_gives_chunks() -> None:
    given = {"pipeline": "video", "chunk_latents": 2, "max_chunk_latents": 3, "input_capacity": 40}
    config = build_config([given])
    assert (config.chunk, config.waiting, config.burst) == (8, 40, 13)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"steps": 5}, r"pipeline=video takes 1 to 4 steps, got 5"),
        ({"steps": 3, "denoising_steps": [700, 400]}, r"takes 1 to 2 steps, got 3"),
        ({"width": 520}, r"pipeline=video needs sides that are multiples of 16, got 520x512"),
        (
            {"acceleration": "openvino"},
            r"runs acceleration auto, eager, graph, compiled, not openvino",
        ),
        ({"use_lcm_lora": True}, r"pipeline=video has no LCM-LoRA: leave use_lcm_lora and"),
        ({"lcm_lora_id": "someone/lcm"}, r"pipeline=video has no LCM-LoRA"),
        ({"prompt_chunks": 2}, r"pipeline=video reads whole prompts as plain words"),
        ({"prompt_syntax": "weighted"}, r"leave embedding, prompt_syntax and prompt_chunks out"),
        ({"embedding": "a"}, r"leave embedding, prompt_syntax and prompt_chunks out"),
        ({"mode": "txt2img"}, r"pipeline=video follows a video; txt2img is for pipeline=image"),
    ],
)
def test_settings_that_only_the_image_pipeline_can_run_are_refused_for_video(
    settings: dict[str, object], complaint: str
) -> None:
    assert build_config([settings]).pipeline == "image"
    with pytest.raises(ConfigError, match=complaint):
        build_config([{"pipeline": "video"}, settings])


@pytest.mark.parametrize("settings", [{"pipeline": "video"}, {"live_loras": False}])
def test_a_live_scale_of_a_fused_lora_is_refused_with_the_reason(
    settings: dict[str, object],
) -> None:
    config = build_config([settings, {"lora": ["style.safetensors:0.5"]}])
    assert config.live.lora_scale == ()
    with pytest.raises(ParameterError, match=r"fused at start .*scales cannot change on air"):
        config.changed(config.live, {"lora_scale": {"style": 1.0}})
