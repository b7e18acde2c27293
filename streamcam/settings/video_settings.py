"""The settings of the video pipeline, fixed at start."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from streamcam.settings.base import Settings, Traits, from_json

FRAMES_PER_LATENT = 4
MAX_VIDEO_STEPS = 4


def _parse_timesteps(value: Any) -> Any:
    value = from_json(value)
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Timesteps = Annotated[
    tuple[Annotated[int, Field(ge=0, le=1000)], ...],
    BeforeValidator(_parse_timesteps),
    Field(min_length=1, max_length=16),
]


class VideoSettings(Settings):
    """Settings that only `pipeline=video` reads."""

    chunk_latents: int = Field(
        default=1,
        ge=1,
        le=16,
        validation_alias=AliasChoices("chunk_latents", "num_frame_per_block"),
        description="Latent frames in a chunk, each of 4 frames.",
    )
    denoising_steps: Timesteps = Field(
        default=(700, 500, 400, 200),
        validation_alias=AliasChoices("denoising_steps", "denoising_step_list"),
        description="Timesteps to denoise at, noisiest first; the first `steps` of them are taken.",
    )
    warp_timesteps: bool = Field(
        default=False,
        validation_alias=AliasChoices("warp_timesteps", "warp_denoising_step"),
        description="Read `denoising_steps` as places in an even schedule, which `flow_shift` then"
        " shifts, as Self-Forcing and its successors do.",
    )
    flow_shift: float = Field(
        default=8.0,
        gt=0,
        le=100,
        validation_alias=AliasChoices("flow_shift", "timestep_shift"),
        description="How far the schedule is shifted towards high noise levels.",
    )
    longer_first_chunk: bool = Field(
        default=True,
        description="Begin with a chunk of one latent frame more, as StreamDiffusionV2 does. False:"
        " with as many as the others have, as Self-Forcing does.",
    )
    clean_context: bool = Field(
        default=False,
        description="Pass every finished chunk through the layers once more, without noise, for the"
        " KV cache, as Self-Forcing does. Needs use_denoising_batch=false.",
    )
    kv_frames: int = Field(
        default=6,
        ge=1,
        le=256,
        validation_alias=AliasChoices("kv_frames", "num_kv_cache", "local_attn_size"),
        description="Latent frames that the KV cache holds.",
    )
    kv_sinks: int = Field(
        default=3,
        ge=0,
        le=255,
        validation_alias=AliasChoices("kv_sinks", "num_sink_tokens", "sink_size"),
        description="Attention sinks: the first frames of the stream, which stay in the KV cache.",
    )
    sink_threshold: float = Field(
        default=0.2,
        ge=-1,
        le=1,
        validation_alias=AliasChoices("sink_threshold", "adapt_sink_threshold"),
        description="Similarity below which a new frame replaces an attention sink; -1 for never.",
    )
    kv_position_limit: int = Field(
        default=50,
        ge=1,
        description="Position, in latent frames, from which a stream goes back to the position of a"
        " full cache.",
    )
    kv_realign: bool = Field(
        default=False, description="Rotate the cached keys back too when the position goes back."
    )
    noise_control: Literal["pixel", "latent", "fixed", "schedule"] = Field(
        default="pixel",
        description="Less noise where there is more motion: measured on pixels as published, on"
        " latents, or not at all (fixed). `strength` is the noise without motion, 0.8 by default."
        " schedule: always as much as the first step is for; `strength` takes the steps below it.",
    )
    prompt_change: Literal["recache", "cross-attention", "restart"] = Field(
        default="recache",
        description="On a new prompt, what happens to the KV cache: computed again (recache), kept"
        " (cross-attention), or dropped (restart).",
    )
    video_encoder: Literal["wan", "taehv"] = Field(
        default="wan", description="Encoder of the input: Wan's own, or the tiny one."
    )
    video_decoder: Literal["wan", "taehv"] = Field(
        default="wan", description="Decoder of the output: Wan's own, or the tiny one."
    )
    video_base: str = Field(
        default="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        description="Hub id, or folder in diffusers layout, of the text encoder and the autoencoder"
        " for a model that is only a transformer.",
    )
    taehv: str = Field(
        default="daydreamlive/Autoencoders/taew2_1.pth",
        description="Weights of TAEHV for Wan 2.1: a path, or USER/REPO/FILE on the hub.",
    )
    target_fps: float = Field(
        default=16.0,
        gt=0,
        le=1000,
        description="Frames per second that a broadcast aims at, or those of the camera if fewer.",
    )
    deadline: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="Seconds from the capture of a frame until its output is due, on air.",
    )
    input_capacity: int = Field(
        default=24,
        ge=5,
        le=256,
        description="Most frames that may wait for the model, on air.",
    )
    max_chunk_latents: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Latent frames in the longest chunk that may be used to keep up, on air;"
        " 0 for none longer than chunk_latents.",
    )
    devices: Annotated[int, Traits(flag=True)] = Field(
        default=1,
        ge=1,
        le=64,
        description="Number of GPUs that share the layers of a video model: its device and those"
        " after it.",
    )
    normalised_latents: bool = Field(
        default=False,
        description="Give the transformer normalised latents. Those of StreamDiffusionV2 take plain"
        " ones.",
    )

    @field_validator("denoising_steps")
    @classmethod
    def _check_falling(cls, steps: tuple[int, ...]) -> Any:
        if any(a <= b for a, b in pairwise(steps)):
            raise ValueError("must fall from the noisiest to the least noisy")
        return steps

    def timesteps(self, count: int) -> tuple[int, ...]:
        """Return the first `count` denoising steps, without the 0 that published lists end on."""
        return tuple(t for t in self.denoising_steps if t)[:count]

    @property
    def chunk(self) -> int:
        """Frames in a chunk."""
        return FRAMES_PER_LATENT * self.chunk_latents

    @property
    def first_extra(self) -> int:
        """Frames that the first chunk has more than the others; a first latent frame has one."""
        return 1 if self.longer_first_chunk else 1 - FRAMES_PER_LATENT

    @property
    def burst(self) -> int:
        """Frames of the longest chunk, a first one: the most that enter or leave at once.

        A change of steps releases more outputs, chunk by chunk.
        """
        return FRAMES_PER_LATENT * max(self.chunk_latents, self.max_chunk_latents) + 1
