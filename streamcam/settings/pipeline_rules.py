"""Rules by which the pipelines differ in reading the settings that they share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from streamcam.settings.video_settings import MAX_VIDEO_STEPS, VideoSettings

VIDEO_ACCELERATIONS = ("auto", "eager", "graph", "compiled")


class SharedSettings(Protocol):
    """The fields of `Config` that the rules read."""

    @property
    def acceleration(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def unet(self) -> str | None: ...
    @property
    def use_lcm_lora(self) -> bool | None: ...
    @property
    def lcm_lora_id(self) -> str | None: ...
    @property
    def controlnet(self) -> Mapping[str, float]: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def frame_buffer_size(self) -> int: ...
    @property
    def use_denoising_batch(self) -> bool: ...
    @property
    def embedding(self) -> dict[str, str]: ...
    @property
    def prompt_syntax(self) -> str: ...
    @property
    def prompt_chunks(self) -> int: ...
    @property
    def region_mask(self) -> str: ...
    @property
    def video(self) -> VideoSettings: ...
    @property
    def num_steps(self) -> int: ...


Count = Callable[[SharedSettings], int]


@dataclass(frozen=True, slots=True)
class PipelineRules:
    """The limits of one pipeline, and how many frames it takes and gives."""

    check: Callable[[SharedSettings], None]
    """Raise ValueError for settings that the pipeline cannot run with."""
    chunk: Count
    """Frames that the stream takes, and gives, at a time."""
    waiting: Count
    """Most frames that may wait, on air, to be taken at once."""
    burst: Count
    """Most outputs that the stream gives at once."""
    fits_on_device: bool
    """Whether a GPU fits camera frames to the model, and takes them at full size.

    It always converts outputs to the canvas.
    """
    can_grow: bool
    """Whether an engine of another size can go on from any frame: each is diffused by itself."""
    fuses_loras: bool
    """Whether LoRAs always become a part of the weights."""


def _no_limits(_settings: SharedSettings) -> None:
    return


def _frame_buffer_size(settings: SharedSettings) -> int:
    return settings.frame_buffer_size


def _check_video(settings: SharedSettings) -> None:
    most = min(MAX_VIDEO_STEPS, len(settings.video.timesteps(MAX_VIDEO_STEPS)))
    if settings.num_steps > most:
        raise ValueError(f"pipeline=video takes 1 to {most} steps, got {settings.num_steps}")
    if settings.width % 16 or settings.height % 16:
        raise ValueError(
            f"pipeline=video needs sides that are multiples of 16, got"
            f" {settings.width}x{settings.height}"
        )
    if settings.acceleration not in VIDEO_ACCELERATIONS:
        raise ValueError(
            f"pipeline=video runs acceleration {', '.join(VIDEO_ACCELERATIONS)}, not"
            f" {settings.acceleration}: leave it out"
        )
    if settings.use_lcm_lora or settings.lcm_lora_id:
        raise ValueError("pipeline=video has no LCM-LoRA: leave use_lcm_lora and lcm_lora_id out")
    if settings.video.clean_context and settings.use_denoising_batch:
        raise ValueError(
            "clean_context needs use_denoising_batch=false: a chunk in a batch is not finished when"
            " the next one begins"
        )
    if settings.embedding or settings.prompt_syntax != "plain" or settings.prompt_chunks != 1:
        raise ValueError(
            "pipeline=video reads whole prompts as plain words: leave embedding, prompt_syntax and"
            " prompt_chunks out"
        )
    if settings.region_mask != "off":
        raise ValueError(
            "pipeline=video has one strength for the whole image: leave region_mask out"
        )
    if settings.unet:
        raise ValueError("pipeline=video has no U-Net: leave unet out")
    if settings.controlnet:
        raise ValueError("pipeline=video has no ControlNets: leave controlnet out")
    if settings.mode == "txt2img":
        raise ValueError("pipeline=video follows a video; txt2img is for pipeline=image")


PIPELINE_RULES = {
    "image": PipelineRules(
        check=_no_limits,
        chunk=_frame_buffer_size,
        waiting=_frame_buffer_size,
        burst=_frame_buffer_size,
        fits_on_device=True,
        can_grow=True,
        fuses_loras=False,
    ),
    "video": PipelineRules(
        check=_check_video,
        chunk=lambda settings: settings.video.chunk,
        waiting=lambda settings: settings.video.input_capacity,
        burst=lambda settings: settings.video.burst,
        fits_on_device=False,
        can_grow=False,
        fuses_loras=True,
    ),
}
"""By the name of the pipeline."""
