"""The settings fixed at start, with those of a broadcast, of video and the first live ones."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from streamcam.errors import ParameterError, suggest
from streamcam.plugins import plugin_names
from streamcam.settings.aliases import DTYPES, dtype_name
from streamcam.settings.base import Traits, accepted_names
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.control_inputs import ControlInput, control_inputs, control_kinds
from streamcam.settings.environment import engine_store, hub_is_offline
from streamcam.settings.model_settings import AUTO, ModelSettings
from streamcam.settings.named_numbers import NamedNumbers, merged, short_names
from streamcam.settings.parameters import NAMED_FIELDS, Parameters, indices_of
from streamcam.settings.pipeline_rules import PIPELINE_RULES, PipelineRules
from streamcam.settings.prompt_syntax import PARSERS
from streamcam.settings.value_types import Timesteps
from streamcam.settings.video_settings import VideoSettings

DEFAULT_STEPS = 2
CAMERA = "camera"
"""Name of the image prompt that is taken from the camera on air."""
OFF = "off"
ACCELERATIONS = (AUTO, "eager", "graph", "compiled", "openvino", "tensorrt", "tensorrt-rtx")
"""The values of `acceleration` without any plugin."""
ENGINE_PLUGINS = "streamcam.engines"
"""Group of the entry points through which installed packages add engines."""


def _acceleration(value: str) -> str:
    # Installed packages are searched only for names that are not built in.
    if value in ACCELERATIONS:
        return value
    known = [*ACCELERATIONS, *plugin_names(ENGINE_PLUGINS)]
    if value in known:
        return value
    hint = suggest(value, known)
    nearest = f" ({hint})" if hint.startswith("did you mean") else ""
    raise ValueError(f"must be one of {', '.join(known)}{nearest}")


def _multiple_of_8(value: int) -> int:
    if value % 8:
        near = max(8, round(value / 8) * 8)
        raise ValueError(f"must be a multiple of 8 (the nearest is {near})")
    return value


Side = Annotated[int, Field(ge=8, le=8192)]


class Config(ModelSettings):
    """The settings that a running stream cannot change."""

    mode: Literal["img2img", "txt2img"] = Field(
        default="img2img", description="Start from the camera image, or from noise alone."
    )
    width: Annotated[Side, Traits(flag=True, model_default=True)] = Field(
        default=512, description="Width of the model's image in pixels, a multiple of 8."
    )
    height: Annotated[Side, Traits(flag=True, model_default=True)] = Field(
        default=512, description="Height of the model's image in pixels, a multiple of 8."
    )
    empty_prompt: Annotated[Literal["model", "camera"], Traits(model_default=True)] = Field(
        default="model",
        description="What an empty prompt shows: the model's output for it, or the camera image"
        " itself.",
    )
    shape: Annotated[Literal["fixed", "camera"], Traits(model_default=True)] = Field(
        default="fixed",
        description="Shape of the model's image on air: width and height as they are (fixed), or"
        " the camera's, with the shorter of both for its shorter side.",
    )
    grow_to: Annotated[int, Traits(model_default=True)] = Field(
        default=0,
        ge=0,
        le=8192,
        description="Pixels that the shorter side of the model's image may grow to on air, where"
        " this machine keeps the frame rate; 0: the size stays. For pipeline=image in"
        " mode=img2img.",
    )
    fit: Literal["fill", "fit", "stretch"] = Field(
        default="fill",
        description="How an input of another aspect ratio is fitted: crop, add bars, or distort.",
    )
    steps: Annotated[int | None, Traits(model_default=True)] = Field(
        default=None,
        ge=1,
        le=50,
        description="Number of denoising steps. Default: as many as t_index_list has, else 2.",
    )
    frame_buffer_size: Annotated[int, Traits(flag=True)] = Field(
        default=1, ge=1, le=64, description="Frames processed in one call."
    )
    cfg_type: Annotated[
        Literal["none", "full", "self", "initialize"], Traits(flag=True, model_default=True)
    ] = Field(
        default="self",
        description="Guidance (CFG): none; full, at twice the work; or residual, at no more work"
        " (self) or a little (initialize).",
    )
    do_add_noise: Annotated[bool, Traits(model_default=True)] = Field(
        default=True, description="Add noise again between the denoising steps."
    )
    timestep_spacing: Annotated[Literal["auto", "lcm", "trailing"], Traits(model_default=True)] = (
        Field(
            default="auto",
            description="Which timesteps the schedule holds: those of latent consistency models, or"
            " evenly spaced ones that end at the last of the training. auto: those of the few-step"
            " model or LoRA that is loaded, by its published name, else lcm.",
        )
    )
    timesteps: Annotated[Timesteps | None, Traits(model_default=True)] = Field(
        default=None,
        description="All timesteps of the schedule, descending, for a model that knows no others;"
        " num_inference_steps is then their number. t_index_list and strength choose among them.",
    )
    sampler: Annotated[
        Literal["auto", "lcm", "euler", "euler_a", "ddim", "tcd"], Traits(model_default=True)
    ] = Field(
        default="auto",
        description="What goes from one step to the next: the image with fresh noise (lcm), with"
        " the noise that was seen in it (euler, ddim), or a part of both (euler_a; tcd, by eta)."
        " auto: that of the few-step model or LoRA that is loaded, by its published name, else"
        " lcm.",
    )
    use_denoising_batch: bool = Field(
        default=True, description="Run the steps of different frames as one batch (Stream Batch)."
    )
    region_mask: str = Field(
        default=OFF,
        description="Regions with a strength of their own (strength_person and"
        " strength_background): none (off), people (person), or the white parts of an image file.",
    )
    cross_frame_attention: bool = Field(
        default=False, description="Let the frames of the stream batch attend to each other."
    )
    temporal_memory: Annotated[Literal["off", "attention", "features"], Traits(flag=True)] = Field(
        default="off",
        description="Memory of past frames that steadies the output: in self-attention, or there"
        " and in the features after it.",
    )
    cache_prompt_kv: bool = Field(
        default=True, description="Compute the prompt's attention keys and values once per prompt."
    )
    similar_image_filter_metric: Literal["centred", "cosine"] = Field(
        default="centred",
        description="Cosine similarity with the means removed (centred), or the paper's plain"
        " cosine.",
    )
    device: Annotated[str, Traits(flag=True)] = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|xpu|cuda(:[0-9]{1,2})?)$",
        description="auto, cpu, cuda, cuda:N, mps or xpu.",
    )
    dtype: Annotated[
        Literal["auto", "float32", "float16", "bfloat16", "float8", "int8"],
        BeforeValidator(dtype_name),
        Traits(flag=True, aliases=tuple(DTYPES)),
    ] = Field(
        default="auto",
        description="Precision (dtype) of the models; fp32, fp16, bf16 and fp8 for short. auto:"
        " float16 on a GPU, bfloat16 on a CPU that supports it, else float32. float8: the U-Net on"
        " tensorrt(-rtx), everything else in float16. int8: openvino on a CPU, with the layers"
        " that it would harm in float32.",
    )
    acceleration: Annotated[
        str, AfterValidator(_acceleration), Traits(flag=True, choices=ACCELERATIONS)
    ] = Field(
        default=AUTO,
        description="How the models run: as they are written (eager; graph: as CUDA graphs), or on"
        " engines made for this machine. auto: the fastest that is here.",
    )
    engine_dir: str | None = Field(
        default=None,
        description="Folder that built engines are stored in. Default: in the user's cache.",
    )
    engine_store: Annotated[str | None, Traits(secret=True)] = Field(
        default_factory=engine_store,
        description="URL of a folder that machines share built engines in, such as"
        " s3://BUCKET/engines, read by fsspec; whoever can write there decides what they run."
        " Default: that in STREAMCAM_ENGINE_STORE.",
    )
    engine_wait: bool | None = Field(
        default=None,
        description="Wait until missing engines are built. Default: on air they are built in the"
        " background, elsewhere waited for.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="CPU threads of the model; 0 takes one for each core, and on air leaves one"
        " core to everything else.",
    )
    warmup: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Calls on black frames before the first real frame; at least one per step,"
        " unless 0.",
    )
    offline: Annotated[bool, Traits(flag=True)] = Field(
        default_factory=hub_is_offline,
        description="Never connect to the Hugging Face hub.",
    )
    broadcast: BroadcastSettings = Field(
        default_factory=BroadcastSettings, description="Settings of the broadcast."
    )
    video: VideoSettings = Field(
        default_factory=VideoSettings, description="Settings of pipeline=video."
    )
    live: Parameters = Field(default_factory=Parameters, description="The first live snapshot.")

    _by_8 = field_validator("width", "height")(_multiple_of_8)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.region_mask != OFF and self.mode == "txt2img":
            raise ValueError("region_mask needs mode=img2img: without camera there are no regions")
        if self.cross_frame_attention and not self.use_denoising_batch:
            raise ValueError("cross_frame_attention needs use_denoising_batch=true")
        if self.cross_frame_attention and self.temporal_memory != "off":
            raise ValueError(
                "temporal_memory and cross_frame_attention are two forms of one thing: choose one"
            )
        self._rules.check(self)
        if self.control_kinds and self.dtype == "int8":
            raise ValueError("dtype int8 cannot run with a controlnet: choose auto or float32")
        self._name_image_prompts()
        self.check(self.live)
        if starts := self.named_numbers():
            whole = {
                name: merged(start, getattr(self.live, name)) for name, start in starts.items()
            }
            self.live.changed(whole)  # It raises where a number is out of range.
            # Frozen for all others: here it is still being made.
            self.__dict__["live"] = self.live.model_copy(update=whole)
        return self

    def _name_image_prompts(self) -> None:
        """Put the camera first among the image prompts, so that no file takes its name."""
        if self.ip_adapter:
            camera = self.image_prompt.get(CAMERA, 1.0)
            self.__dict__["image_prompt"] = {CAMERA: camera} | self.image_prompt
        elif self.image_prompt or self.image_encoder:
            raise ValueError(
                "image_prompt and image_encoder need ip_adapter, such as"
                " h94/IP-Adapter/models/ip-adapter_sd15.safetensors"
            )

    @property
    def _rules(self) -> PipelineRules:
        return PIPELINE_RULES[self.pipeline]

    @property
    def chunk(self) -> int:
        """Frames that the stream takes, and gives, at a time."""
        return self._rules.chunk(self)

    @property
    def waiting(self) -> int:
        """Most frames that may wait, on air, to be taken at once."""
        return self._rules.waiting(self)

    @property
    def burst(self) -> int:
        """Most outputs that the stream gives at once."""
        return self._rules.burst(self)

    @property
    def fits_on_device(self) -> bool:
        """Whether a GPU fits camera frames to the model, and takes them at full size."""
        return self._rules.fits_on_device

    @property
    def can_grow(self) -> bool:
        """Whether the image at another size shows the same, so that it may change on air."""
        return self._rules.can_grow and self.mode == "img2img"

    def shows_camera(self, parameters: Parameters) -> bool:
        """Return whether the prompts of `parameters` are empty, and that means the camera image."""
        if self.empty_prompt != "camera":
            return False
        reads_negative = self.cfg_type in ("full", "initialize")
        prompts = [parameters.prompt, *([parameters.negative_prompt] if reads_negative else [])]
        parse = PARSERS[self.prompt_syntax]
        texts = [text for prompt in prompts for text, weight in prompt if weight]
        return not any(parse(text).text.strip() for text in texts)

    @property
    def num_steps(self) -> int:
        """Denoising steps n, which no live change may alter: models and engines are made for n."""
        indices = self.live.t_index_list
        return self.steps or (len(indices) if indices else DEFAULT_STEPS)

    def indices(self, parameters: Parameters) -> tuple[int, ...]:
        """Return the n schedule indices of `parameters`."""
        regions = self.region_strengths(parameters)
        if regions and parameters.t_index_list is None:
            return indices_of(max(regions), self.num_steps, parameters.num_inference_steps)
        return parameters.indices(self.num_steps, self.default_strength)

    def region_strengths(self, parameters: Parameters) -> tuple[float, float] | None:
        """Return the strengths of the person and the background; None where one holds for both.

        Where one is not set the plain strength holds, which exact indices stand for too.
        """
        given = (parameters.strength_person, parameters.strength_background)
        if self.region_mask == OFF or given == (None, None):
            return None
        plain, most = parameters.strength, 1.0
        if parameters.t_index_list is not None:
            plain = most = 1 - parameters.t_index_list[0] / parameters.num_inference_steps
        elif plain is None:
            plain = self.default_strength
        person, background = (min(most, plain if value is None else value) for value in given)
        return person, background

    def region_levels(self, parameters: Parameters) -> tuple[float, ...]:
        """Return the strength that begins at each of the n steps, the largest in use first."""
        length = parameters.num_inference_steps
        shares = [1 - index / length for index in self.indices(parameters)]
        top = shares[0]
        if parameters.t_index_list is None:
            # Indices are rounded; the strength that they were made for begins at the first.
            top = max(self.region_strengths(parameters) or (1.0,))
        return tuple(top * share / shares[0] for share in shares)

    @property
    def default_strength(self) -> float:
        """The strength where neither that nor the indices are set."""
        return 1.0 if self.mode == "txt2img" else 0.4

    @property
    def control_inputs(self) -> dict[str, ControlInput]:
        """Inputs of the ControlNets by their names."""
        return control_inputs(short_names(self.controlnet).values(), self.control)

    @property
    def control_kinds(self) -> dict[str, str]:
        """Kinds of images that the ControlNets are shown, by their names; empty where unknown."""
        return control_kinds(self.control_inputs, self.control_type)

    def named_numbers(self) -> dict[str, NamedNumbers]:
        """Return what each live field of numbers by name begins with, where anything is named."""
        starts: dict[str, NamedNumbers] = {}
        for name, trait in NAMED_FIELDS.items():
            given = self._named(trait.named_by)
            short = short_names(given)
            if given:
                begins = [(short[item], value) for item, value in given.items()]
                fixed = trait.begins
                starts[name] = tuple((n, v if fixed is None else fixed) for n, v in begins)
        return starts

    @property
    def fuses_loras(self) -> bool:
        """Whether LoRAs become a part of the weights, so that their scales cannot change."""
        return self._rules.fuses_loras or not self.live_loras

    def _named(self, setting: str) -> Mapping[str, float]:
        """Return what `setting` names that live numbers are for."""
        if setting == "lora" and self.fuses_loras:
            return {}
        given: Mapping[str, float] = getattr(self, setting)
        return given

    def known_numbers(self, field: str, numbers: NamedNumbers) -> NamedNumbers:
        """Return those of the `numbers` of a live field whose names were given at start."""
        known = {name for name, _ in self.named_numbers().get(field, ())}
        return tuple((name, number) for name, number in numbers if name in known)

    def changed(self, parameters: Parameters, changes: Mapping[str, Any]) -> Parameters:
        """Return `parameters` with live `changes` applied.

        Raises:
            ParameterError: a value is refused, or would change what is fixed at start.
        """
        if fixed := [name for name in changes if name in FIXED_NAMES]:
            raise ParameterError(f'"{fixed[0]}" is fixed at start and cannot change live')
        return self.check(parameters.changed(changes))

    def check(self, parameters: Parameters) -> Parameters:
        """Return `parameters` if this config can run them, else raise ParameterError."""
        n = self.num_steps
        if parameters.t_index_list is not None and len(parameters.t_index_list) != n:
            raise ParameterError(
                f"t_index_list has {len(parameters.t_index_list)} entries, but the number of steps"
                f" is fixed at start: {n}"
            )
        known = self.timesteps
        if known is not None and parameters.num_inference_steps != len(known):
            raise ParameterError(
                f"timesteps lists {len(known)}, so num_inference_steps is {len(known)}, not"
                f" {parameters.num_inference_steps}"
            )
        if n > parameters.num_inference_steps:
            raise ParameterError(
                f"{n} steps need num_inference_steps of at least {n},"
                f" got {parameters.num_inference_steps}"
            )
        self._check_names(parameters)
        return parameters

    def _check_names(self, parameters: Parameters) -> None:
        """Raise ParameterError for a number of something that was not named at start."""
        for field, trait in NAMED_FIELDS.items():
            numbers: NamedNumbers = getattr(parameters, field)
            if not numbers:
                continue
            known = short_names(self._named(trait.named_by)).values()
            if unknown := next((name for name, _ in numbers if name not in known), None):
                setting = trait.named_by.replace("_", " ")
                hint = suggest(unknown, known) if known else self._why_none(trait.named_by)
                raise ParameterError(f'{field}: no {setting} "{unknown:.40}": {hint}')

    def _why_none(self, setting: str) -> str:
        if not getattr(self, setting):
            return "none was given at start"
        why = f"pipeline={self.pipeline}" if self._rules.fuses_loras else "live_loras=false"
        return f"LoRAs are fused at start ({why}), so their scales cannot change on air"


PARTS = ("broadcast", "video", "live")
"""Fields of `Config` that are tables of their own: in TOML all settings stand on one level."""

FIXED_NAMES = {name: field for name, field in accepted_names(Config).items() if field not in PARTS}
FIXED_NAMES |= accepted_names(BroadcastSettings) | accepted_names(VideoSettings)
LIVE_NAMES = accepted_names(Parameters)
