"""The live parameters: everything an operator may change on air, as one immutable snapshot."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from streamcam.errors import ParameterError, suggest
from streamcam.settings.base import Settings, Traits, traits
from streamcam.settings.named_numbers import (
    AS_NAMED_NUMBERS,
    NamedNumbers,
    is_named_numbers,
    merged,
    parse_named_numbers,
)
from streamcam.settings.value_types import (
    ControlScale,
    Easing,
    ImageScale,
    Indices,
    LoraScale,
    Prompt,
    Share,
)


class Parameters(Settings):
    """The live snapshot: read once per frame, so that no frame sees half a change."""

    prompt: Annotated[Prompt, Traits(flag=True, model_default=True, fades=True, group="Prompt")] = (
        Field(
            default=(("", 1.0),),
            description="What the image should become: a text, or a JSON list of [text, weight].",
        )
    )
    negative_prompt: Annotated[
        Prompt, Traits(flag=True, model_default=True, fades=True, group="Prompt")
    ] = Field(
        default=(("", 1.0),),
        description="What the image should avoid; works with cfg_type full and initialize.",
    )
    prompt_interpolation: Annotated[Literal["linear", "slerp"], Traits(group="Prompt")] = Field(
        default="linear", description="How the embeddings of weighted prompts are blended."
    )
    strength: Annotated[
        float | None, Traits(flag=True, model_default=True, fades=True, group="Look")
    ] = Field(
        default=None,
        ge=0,
        le=1,
        description="How far to go from the camera image: picks the timesteps (t_index_list is the"
        " exact form). Default: the model's own, else 0.4; 1 for text to image.",
    )
    strength_person: Annotated[
        float | None, Traits(needs="region_mask", spans_as="strength", fades=True, group="Look")
    ] = Field(
        default=None,
        ge=0,
        le=1,
        description="Strength where the person is, or the white of the mask; needs region_mask."
        " Default: strength.",
    )
    strength_background: Annotated[
        float | None, Traits(needs="region_mask", spans_as="strength", fades=True, group="Look")
    ] = Field(
        default=None,
        ge=0,
        le=1,
        description="Strength everywhere else; needs region_mask. Default: strength.",
    )
    t_index_list: Annotated[Indices | None, Traits(flag=True, model_default=True, group="Look")] = (
        Field(
            default=None,
            description="Indices of the denoising steps in the schedule, ascending; 0 is pure"
            " noise.",
        )
    )
    num_inference_steps: Annotated[
        int, Traits(flag=True, model_default=True, group="Look", usual=(1, 100))
    ] = Field(
        default=50,
        ge=1,
        le=1000,
        description="Length of the schedule that t_index_list points into.",
    )
    guidance_scale: Annotated[
        float, Traits(flag=True, model_default=True, fades=True, group="Look", usual=(0, 4))
    ] = Field(
        default=1.2,
        ge=0,
        le=30,
        description="How strongly the prompt guides the image; 1 is neutral.",
    )
    delta: Annotated[
        float, Traits(flag=True, model_default=True, fades=True, group="Look", usual=(0, 2))
    ] = Field(
        default=1.0,
        ge=0,
        le=10,
        description="Strength of the virtual negative prompt in residual guidance (cfg_type"
        " self and initialize).",
    )
    guidance_rescale: Annotated[float, Traits(model_default=True, fades=True, group="Look")] = (
        Field(
            default=0.0,
            ge=0,
            le=1,
            description="How far guidance leaves colours and contrast as they are without it,"
            " channel by channel of the latents: against burnt images at a high"
            " guidance_scale. 0 is not at all; without effect with cfg_type none.",
        )
    )
    lora_scale: Annotated[
        tuple[tuple[str, LoraScale], ...],
        AS_NAMED_NUMBERS,
        Traits(named_by="lora", solo="lora", fades=True, group="Look", usual=(0, 1.5)),
    ] = Field(
        default=(),
        description="Scale of each LoRA by its name; 0 turns it off. Default: as given at start.",
    )
    eta: Annotated[float, Traits(needs="sampler", model_default=True, fades=True, group="Look")] = (
        Field(
            default=0.3,
            ge=0,
            le=1,
            description="Share of fresh noise between the steps of the sampler tcd (its gamma): 0"
            " is deterministic, 1 much like lcm.",
        )
    )
    controlnet_scale: Annotated[
        tuple[tuple[str, ControlScale], ...],
        AS_NAMED_NUMBERS,
        Traits(named_by="controlnet", solo="controlnet", fades=True, group="Look", usual=(0, 2)),
    ] = Field(
        default=(),
        description="Scale of each ControlNet by its name; 0 turns it off. Default: as given at"
        " start.",
    )
    controlnet_start: Annotated[
        tuple[tuple[str, Share], ...],
        AS_NAMED_NUMBERS,
        Traits(named_by="controlnet", begins=0.0, group="Look"),
    ] = Field(
        default=(),
        description="Share of the denoising steps after which each ControlNet begins, by its name.",
    )
    controlnet_end: Annotated[
        tuple[tuple[str, Share], ...],
        AS_NAMED_NUMBERS,
        Traits(named_by="controlnet", begins=1.0, group="Look"),
    ] = Field(
        default=(),
        description="Share of the denoising steps after which each ControlNet ends, by its name.",
    )
    edge_low: Annotated[
        float, Traits(needs="controlnet", fades=True, group="Look", usual=(0, 400))
    ] = Field(
        default=100,
        ge=0,
        le=1000,
        description="Lower threshold of the edges that a ControlNet is shown: from it on, what"
        " touches an edge is one too.",
    )
    edge_high: Annotated[
        float, Traits(needs="controlnet", fades=True, group="Look", usual=(0, 400))
    ] = Field(
        default=200,
        ge=0,
        le=1000,
        description="Upper threshold of the edges that a ControlNet is shown: higher shows fewer.",
    )
    temporal_strength: Annotated[
        float, Traits(needs="temporal_memory", fades=True, group="Look")
    ] = Field(
        default=0.8,
        ge=0,
        le=1,
        description="How strongly past frames steady the output, with temporal_memory; 0 is not at"
        " all.",
    )
    temporal_length: Annotated[
        float,
        Traits(needs="temporal_memory", fades=True, unit="frames", group="Look", usual=(1, 33)),
    ] = Field(
        default=8.0,
        ge=1,
        le=1000,
        description="How many frames the memory goes back, as a running mean; 1 forgets at once.",
    )
    temporal_threshold: Annotated[
        float, Traits(needs="temporal_memory", fades=True, group="Look", usual=(0.5, 1))
    ] = Field(
        default=0.95,
        ge=0,
        le=1,
        description="Cosine similarity from which features count as those of the same thing.",
    )
    output_blend: Annotated[
        float, Traits(flag=True, model_default=True, fades=True, group="Look")
    ] = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the last output, moved with the scene, that is blended into the next"
        " one where both show the same: steadies the output. 0 is none.",
    )
    noise_follow: Annotated[bool, Traits(group="Look")] = Field(
        default=False,
        description="Move the noise with the scene, so that its grain stays on things; otherwise"
        " it stays where it is in the image.",
    )
    image_prompt_scale: Annotated[
        tuple[tuple[str, ImageScale], ...],
        AS_NAMED_NUMBERS,
        Traits(
            named_by="image_prompt", solo="image_prompt", fades=True, group="Look", usual=(0, 1.5)
        ),
    ] = Field(
        default=(),
        description="How strongly each image prompt, by its name, makes the output look like it; 0"
        " turns it off, and several add up. Default: as given at start.",
    )
    image_prompt_grab: Annotated[int, Traits(needs="ip_adapter", trigger=True, group="Look")] = (
        Field(
            default=0,
            ge=0,
            lt=2**63,
            description="Counter: raising it takes the newest camera frame as the image prompt"
            " named camera.",
        )
    )
    seed: Annotated[int, Traits(flag=True, group="Look", usual=(0, 9999))] = Field(
        default=2, ge=0, lt=2**63, description="Seed of the noise."
    )
    enable_similar_image_filter: Annotated[bool, Traits(group="Look")] = Field(
        default=False, description="Skip frames that look like the last one processed."
    )
    similar_image_filter_threshold: Annotated[float, Traits(group="Look", usual=(0.8, 1))] = Field(
        default=0.98, ge=-1, le=1, description="Similarity from which a frame may be skipped."
    )
    similar_image_filter_max_skip_frame: Annotated[
        int, Traits(unit="frames", group="Look", usual=(0, 60))
    ] = Field(default=10, ge=0, le=100_000, description="Most frames skipped in a row.")
    reset: Annotated[int, Traits(trigger=True, group="Look")] = Field(
        default=0, ge=0, lt=2**63, description="Counter: raising it restarts the stream."
    )
    mirror: Annotated[bool, Traits(flag=True, group="Camera")] = Field(
        default=False, description="Flip the camera image left to right."
    )
    rotate: Annotated[
        Literal["0", "90", "180", "270"], Traits(flag=True, unit="degrees", group="Camera")
    ] = Field(default="0", description="Rotate the camera image clockwise, in degrees.")
    mix: Annotated[float, Traits(fades=True, group="Output")] = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Opacity of the model's output over the camera image; 0 shows the camera.",
    )
    detail: Annotated[float, Traits(flag=True, fades=True, group="Output")] = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the camera's fine detail that is carried to the enlarged output,"
        " where the look keeps the scene; 0 enlarges the output as it is.",
    )
    bypass: Annotated[bool, Traits(group="Safety")] = Field(
        default=False, description="Show the camera image instead of the model's output."
    )
    freeze: Annotated[bool, Traits(group="Safety")] = Field(
        default=False, description="Hold the image that is on air."
    )
    blackout: Annotated[bool, Traits(group="Safety")] = Field(
        default=False, description="Show black."
    )
    panic: Annotated[bool, Traits(group="Safety")] = Field(
        default=False, description="Show the standby slate, whatever else is set."
    )
    fps_limit: Annotated[float, Traits(unit="frames/s", group="Camera", usual=(0, 60))] = Field(
        default=0.0,
        ge=0,
        le=1000,
        description="Most frames per second that the model is given; 0 is no limit.",
    )
    prompt_time: Annotated[float, Traits(unit="s", group="Prompt", usual=(0, 10))] = Field(
        default=0.0, ge=0, le=600, description="Seconds over which a new prompt fades in."
    )
    preset_time: Annotated[float, Traits(unit="s", group="Look", usual=(0, 10))] = Field(
        default=0.0, ge=0, le=600, description="Seconds over which a preset fades in."
    )
    preset_easing: Annotated[Easing, Traits(group="Look")] = Field(
        default="linear",
        description="How a preset fades in: evenly, gently at its beginning (ease-in), at its end"
        " (ease-out), or at both.",
    )
    record: Annotated[bool, Traits(group="Output")] = Field(
        default=True, description="Let the recorder run."
    )
    snapshot: Annotated[int, Traits(trigger=True, group="Output")] = Field(
        default=0, ge=0, lt=2**63, description="Counter: raising it saves what is on air as a PNG."
    )

    @model_validator(mode="after")
    def _check_index_list(self) -> "Parameters":
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
        """Return a new snapshot with all of `changes` applied.

        `strength` and `t_index_list` are two forms of one thing: setting one clears the other.

        Raises:
            ParameterError: a name is unknown or a value out of range; nothing has changed.
        """
        if unknown := [name for name in changes if name not in type(self).model_fields]:
            known = type(self).model_fields
            raise ParameterError(f'unknown parameter "{unknown[0]}": {suggest(unknown[0], known)}')
        values = {name: getattr(self, name) for name in type(self).model_fields} | dict(changes)
        for name, field in type(self).model_fields.items():
            if name in changes and is_named_numbers(field):
                values[name] = _whole(getattr(self, name), changes[name])
        if changes.get("t_index_list") is not None:
            values["strength"] = None
        elif changes.get("strength") is not None:
            values["t_index_list"] = None
        return type(self).parse(values, ParameterError)

    @property
    def moves_with_scene(self) -> bool:
        """Whether anything moves with the scene, so that its motion is looked for."""
        return self.noise_follow or self.output_blend > 0

    def indices(self, steps: int, default_strength: float) -> tuple[int, ...]:
        """Return the `steps` ascending schedule indices that this snapshot selects."""
        if self.t_index_list is not None:
            return self.t_index_list
        strength = default_strength if self.strength is None else self.strength
        return indices_of(strength, steps, self.num_inference_steps)


def _whole(before: NamedNumbers, value: Any) -> Any:
    """Return numbers by name with those that `value` names replaced; the others stay."""
    changes = parse_named_numbers(value)
    try:
        return merged(before, changes)
    except (TypeError, ValueError):
        return changes  # Which is refused, as it holds no names and numbers.


def indices_of(strength: float, steps: int, num_inference_steps: int) -> tuple[int, ...]:
    """Spread `steps` indices evenly over the last `strength` part of the schedule.

    1 begins at pure noise (index 0); 0 keeps to the last `steps` indices.
    """
    start = min(round((1 - strength) * num_inference_steps), num_inference_steps - steps)
    return tuple(start + i * (num_inference_steps - start) // steps for i in range(steps))


NAMED_FIELDS = {
    name: traits(field)
    for name, field in Parameters.model_fields.items()
    if is_named_numbers(field)
}
"""Traits of the fields that hold numbers by name."""
