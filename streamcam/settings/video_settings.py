"""The settings of the video pipeline, fixed at start."""

import os
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from streamcam.settings.base import Settings, from_json
from streamcam.settings.parameters import FLAG

PICTURES_PER_LATENT = 4
MAX_VIDEO_STEPS = 4


class Launch(NamedTuple):
    """Which process of how many torchrun started this one as."""

    rank: int
    ranks: int
    local: int
    """Which of those on this machine."""


def launched() -> Launch | None:
    """Return what torchrun started this process as; None where it did not, or alone."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    found = [os.environ.get(name, "") for name in names]
    if "MASTER_ADDR" not in os.environ or not all(value.isdecimal() for value in found):
        return None
    launch = Launch(*map(int, found))
    return launch if launch.ranks > 1 else None


def _timesteps(value: Any) -> Any:
    value = from_json(value)
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Timesteps = Annotated[
    tuple[Annotated[int, Field(ge=0, le=1000)], ...],
    BeforeValidator(_timesteps),
    Field(min_length=1, max_length=16),
]


class VideoSettings(Settings):
    """What `pipeline=video` is told beside the settings that both pipelines share."""

    chunk_latents: int = Field(
        default=1,
        ge=1,
        le=16,
        validation_alias=AliasChoices("chunk_latents", "num_frame_per_block"),
        description="Latent frames in a chunk, of 4 pictures each.",
    )
    denoising_steps: Timesteps = Field(
        default=(700, 500, 400, 200),
        validation_alias=AliasChoices("denoising_steps", "denoising_step_list"),
        description="Timesteps to denoise at, noisiest first; the first `steps` of them are taken.",
    )
    flow_shift: float = Field(
        default=8.0, gt=0, le=100, description="How far the model's noise levels lean to noise."
    )
    kv_frames: int = Field(
        default=6,
        ge=1,
        le=256,
        validation_alias=AliasChoices("kv_frames", "num_kv_cache"),
        description="Latent frames that the cache of keys and values holds.",
    )
    kv_sinks: int = Field(
        default=3,
        ge=0,
        le=255,
        validation_alias=AliasChoices("kv_sinks", "num_sink_tokens"),
        description="Of these, first frames of the stream that stay.",
    )
    sink_threshold: float = Field(
        default=0.2,
        ge=-1,
        le=1,
        validation_alias=AliasChoices("sink_threshold", "adapt_sink_threshold"),
        description="Similarity below which a new frame replaces a sink; -1 for never.",
    )
    kv_position_limit: int = Field(
        default=50,
        ge=1,
        description="Position, in latent frames, from which a stream goes back to that of a full"
        " cache.",
    )
    kv_realign: bool = Field(
        default=False, description="Turn the cached keys back too when the position goes back."
    )
    noise_control: Literal["pixel", "latent", "fixed"] = Field(
        default="pixel",
        description="Less noise where more moves: as published, told from the latents, or not at"
        " all. `strength` is the share of noise where nothing moves, 0.8 by default.",
    )
    prompt_change: Literal["recache", "cross-attention", "restart"] = Field(
        default="recache",
        description="What a new prompt does to the past: computes it anew, leaves it, or drops it.",
    )
    video_encoder: Literal["wan", "taehv"] = Field(
        default="wan", description="Autoencoder for what comes in: Wan's own, or the tiny one."
    )
    video_decoder: Literal["wan", "taehv"] = Field(
        default="wan", description="Autoencoder for what goes out: Wan's own, or the tiny one."
    )
    video_base: str = Field(
        default="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        description="Hub id, or folder in diffusers layout, with the text encoder and the"
        " autoencoder for a model that is a transformer alone.",
    )
    taehv: str = Field(
        default="daydreamlive/Autoencoders/taew2_1.pth",
        description="File of TAEHV for Wan 2.1: a path, or USER/REPO/FILE on the hub.",
    )
    target_fps: float = Field(
        default=16.0,
        gt=0,
        le=1000,
        description="Pictures per second that a broadcast is to reach; a slower camera needs no"
        " more than it has frames.",
    )
    deadline: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="Seconds from a frame's capture until its picture is to be there, on air.",
    )
    input_capacity: int = Field(
        default=24,
        ge=5,
        le=256,
        description="Frames that may wait for the model, on air.",
    )
    max_chunk_latents: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Latent frames in the longest chunk that may be taken to keep up, on air;"
        " 0 for none longer than chunk_latents.",
    )
    devices: int = Field(
        default=1,
        ge=1,
        le=64,
        description="GPUs that share the transformer's layers, the model's device and those after"
        " it.",
        json_schema_extra=FLAG,
    )
    normalised_latents: bool = Field(
        default=False,
        description="Whether the transformer takes normalised latents."
        " Those of StreamDiffusionV2 do not.",
    )

    @field_validator("denoising_steps")
    @classmethod
    def _falling(cls, steps: tuple[int, ...]) -> Any:
        if any(a <= b for a, b in pairwise(steps)):
            raise ValueError("must fall from the noisiest to the least noisy")
        return steps

    def timesteps(self, count: int) -> tuple[int, ...]:
        """Return the first `count` denoising steps; the 0 that published lists end on is none."""
        return tuple(t for t in self.denoising_steps if t)[:count]

    @property
    def chunk(self) -> int:
        """Pictures in a chunk."""
        return PICTURES_PER_LATENT * self.chunk_latents

    @property
    def burst(self) -> int:
        """Most pictures that come out at once, but for those that a change of steps lets go."""
        return PICTURES_PER_LATENT * max(self.chunk_latents, self.max_chunk_latents) + 1
