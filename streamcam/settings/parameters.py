"""Everything an operator may change on air, as one immutable snapshot."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from streamcam.errors import ParameterError, suggest
from streamcam.settings.base import Settings, from_json

MAX_PROMPT_BYTES = 1000
MAX_PROMPTS = 16


def _prompt(value: Any) -> Any:
    value = from_json(value)
    if isinstance(value, str):
        return ((value, 1.0),)
    if isinstance(value, (list, tuple)):
        return tuple((item, 1.0) if isinstance(item, str) else item for item in value)
    return value


def index_list(value: Any) -> Any:
    """Read ``32,45``, ``[32, 45]`` or a single number as a list of indices."""
    value = from_json(value)
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return [value] if isinstance(value, int) else value


Weight = Annotated[float, Field(ge=0, le=1000)]
Prompt = Annotated[
    tuple[tuple[str, Weight], ...],
    BeforeValidator(_prompt),
    Field(min_length=1, max_length=MAX_PROMPTS),
]
"""Texts and their weights. A bare text, or ``[["cat", 0.7], ["dog", 0.3]]``."""

Indices = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...],
    BeforeValidator(index_list),
    Field(min_length=1, max_length=50),
]

FLAG: dict[str, Any] = {"flag": True}
"""Marks the fields that have a flag of their own; ``--set`` takes them all."""


class Parameters(Settings):
    """The live snapshot: taken once per frame, so that no frame sees half a change."""

    prompt: Prompt = Field(
        default=(("", 1.0),),
        description="What the picture should become: a text, or a JSON list of [text, weight].",
        json_schema_extra=FLAG,
    )
    negative_prompt: Prompt = Field(
        default=(("", 1.0),),
        description="What the picture should avoid (cfg_type full and initialize).",
        json_schema_extra=FLAG,
    )
    prompt_interpolation: Literal["linear", "slerp"] = Field(
        default="linear", description="How weighted prompts are blended."
    )
    strength: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="How far from the input: picks the timesteps (t_index_list is the exact form)."
        " Default 0.4, and 1 for text to image.",
        json_schema_extra=FLAG,
    )
    t_index_list: Indices | None = Field(
        default=None,
        description="Indices of the denoising steps in the schedule, ascending; 0 is pure noise.",
        json_schema_extra=FLAG,
    )
    num_inference_steps: int = Field(
        default=50,
        ge=1,
        le=1000,
        description="Length of the schedule that t_index_list points into.",
        json_schema_extra=FLAG,
    )
    guidance_scale: float = Field(
        default=1.2,
        ge=0,
        le=30,
        description="How strongly the prompt pulls; 1 is neutral.",
        json_schema_extra=FLAG,
    )
    delta: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="Share of the virtual negative noise in residual guidance.",
        json_schema_extra=FLAG,
    )
    seed: int = Field(
        default=2, ge=0, lt=2**63, description="Seed of the noise.", json_schema_extra=FLAG
    )
    enable_similar_image_filter: bool = Field(
        default=False, description="Skip frames that look like the last one processed."
    )
    similar_image_filter_threshold: float = Field(
        default=0.98, ge=-1, le=1, description="Similarity from which a frame may be skipped."
    )
    similar_image_filter_max_skip_frame: int = Field(
        default=10, ge=0, le=100_000, description="Most frames skipped in a row."
    )
    reset: int = Field(
        default=0, ge=0, description="Counter: raising it starts the stream anew.", lt=2**63
    )
    mirror: bool = Field(
        default=False, description="Turn the camera's left and right.", json_schema_extra=FLAG
    )
    rotate: Literal["0", "90", "180", "270"] = Field(
        default="0", description="Turn the camera clockwise, degrees.", json_schema_extra=FLAG
    )
    mix: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the picture over the camera; 0 is the camera.",
    )
    bypass: bool = Field(default=False, description="Show the camera instead of the picture.")
    freeze: bool = Field(default=False, description="Hold what is on air.")
    blackout: bool = Field(default=False, description="Show black.")
    panic: bool = Field(
        default=False, description="Show the standby slate, whatever else is going on."
    )
    fps_limit: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        description="Most frames per second that the model is given; 0 is no limit.",
    )
    prompt_time: float = Field(
        default=0.0, ge=0, le=600, description="Seconds over which a new prompt fades in."
    )
    preset_time: float = Field(
        default=0.0, ge=0, le=600, description="Seconds over which a preset fades in."
    )
    record: bool = Field(default=True, description="Let the recorder run.")
    snapshot: int = Field(
        default=0, ge=0, lt=2**63, description="Counter: raising it saves what is on air as a PNG."
    )

    @field_validator("prompt", "negative_prompt")
    @classmethod
    def _usable(cls, prompt: tuple[tuple[str, float], ...]) -> Any:
        longest = max(len(text.encode()) for text, _ in prompt)
        if longest > MAX_PROMPT_BYTES:
            raise ValueError(f"a text takes at most {MAX_PROMPT_BYTES} bytes, not {longest}")
        if not any(weight for _, weight in prompt):
            raise ValueError("at least one prompt needs a weight above 0")
        return prompt

    @model_validator(mode="after")
    def _ascending(self) -> "Parameters":
        indices = self.t_index_list
        if indices is None:
            return self
        shown = ",".join(map(str, indices))
        if any(a >= b for a, b in pairwise(indices)):
            wanted = ",".join(map(str, sorted(set(indices))))
            raise ValueError(f"t_index_list must ascend: {shown} could be {wanted}")
        if indices[-1] >= self.num_inference_steps:
            raise ValueError(
                f"t_index_list {shown} goes beyond the schedule: with num_inference_steps="
                f"{self.num_inference_steps} the last index is {self.num_inference_steps - 1}"
            )
        return self

    def changed(self, changes: Mapping[str, Any]) -> "Parameters":
        """Return the snapshot with `changes` made to it, whole.

        `strength` and `t_index_list` are two forms of one thing: setting one clears the other.

        Raises:
            ParameterError: a name is unknown or a value out of range; nothing has changed.
        """
        if unknown := [name for name in changes if name not in type(self).model_fields]:
            known = type(self).model_fields
            raise ParameterError(f'unknown parameter "{unknown[0]}": {suggest(unknown[0], known)}')
        values = {name: getattr(self, name) for name in type(self).model_fields} | dict(changes)
        if changes.get("t_index_list") is not None:
            values["strength"] = None
        elif changes.get("strength") is not None:
            values["t_index_list"] = None
        return type(self).parse(values, ParameterError)

    def indices(self, steps: int, default_strength: float) -> tuple[int, ...]:
        """Return the `steps` ascending schedule indices that this snapshot asks for."""
        if self.t_index_list is not None:
            return self.t_index_list
        strength = default_strength if self.strength is None else self.strength
        return indices_of(strength, steps, self.num_inference_steps)


def indices_of(strength: float, steps: int, num_inference_steps: int) -> tuple[int, ...]:
    """Spread `steps` indices evenly over the last `strength` part of the schedule.

    1 begins at pure noise (index 0); 0 keeps to the last `steps` indices.
    """
    start = min(round((1 - strength) * num_inference_steps), num_inference_steps - steps)
    return tuple(start + i * (num_inference_steps - start) // steps for i in range(steps))
