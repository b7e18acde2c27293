"""The settings fixed at start, with those of a broadcast, of video and the first live ones."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from streamcam.errors import ParameterError, suggest
from streamcam.plugins import plugin_names
from streamcam.settings.aliases import dtype_name, model_id
from streamcam.settings.base import Settings, Traits, accepted_names, from_json
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.environment import hub_is_offline
from streamcam.settings.named_numbers import NamedNumbers, merged, short_names
from streamcam.settings.parameters import NAMED_FIELDS, Parameters
from streamcam.settings.pipeline_rules import PIPELINE_RULES, PipelineRules
from streamcam.settings.video_settings import VideoSettings

DEFAULT_STEPS = 2
CAMERA = "camera"
"""Name of the image prompt that is taken from the camera on air."""
MAX_IMAGE_PROMPTS = 16
AUTO = "auto"
ACCELERATIONS = (AUTO, "eager", "graph", "compiled", "openvino", "tensorrt", "tensorrt-rtx")
"""The values of `acceleration` without any plugin."""
ENGINE_PLUGINS = "streamcam.engines"
"""Group of the entry points through which installed packages add engines."""


def _parse_loras(value: Any) -> Any:
    value = from_json(value)
    items = [value] if isinstance(value, str) else value
    if isinstance(items, (list, tuple)) and all(isinstance(item, str) for item in items):
        return dict(map(_parse_lora, items))
    return value


def _parse_lora(item: str) -> tuple[str, float]:
    path, colon, scale = item.rpartition(":")
    try:
        return (path, float(scale)) if colon else (item, 1.0)
    except ValueError:
        return item, 1.0


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


class Config(Settings):
    """The settings that a running stream cannot change."""

    pipeline: Annotated[Literal["image", "video"], Traits(flag=True)] = Field(
        default="image",
        description="Diffuse each frame on its own (image), or as part of a steady video (video).",
    )
    model: Annotated[str, AfterValidator(model_id), Traits(flag=True)] = Field(
        default=AUTO,
        validation_alias=AliasChoices("model", "model_id_or_path"),
        description="Hub id, folder in diffusers layout, .safetensors file, random:NAME, or nano,"
        " which comes with streamcam; sd-turbo, sdxl-turbo and sd15 for short."
        " auto: SD-Turbo if it is in the cache and there is a GPU, else"
        " nano.",
    )
    single_file_config: str | None = Field(
        default=None,
        description="Folder or hub id whose config files describe a single-file model."
        " Default: the family that the file's tensors belong to, from the hub.",
    )
    mode: Literal["img2img", "txt2img"] = Field(
        default="img2img", description="Start from the camera image, or from noise alone."
    )
    vae: Annotated[str | None, Traits(flag=True)] = Field(
        default=None,
        validation_alias=AliasChoices("vae", "vae_id"),
        description='Autoencoder: hub id or folder, "full" for the model\'s own.'
        " Default: TAESD or TAESDXL.",
    )
    use_tiny_vae: bool = Field(
        default=True, description="Use the tiny autoencoder if vae is not set."
    )
    lora: Annotated[
        dict[str, float], BeforeValidator(_parse_loras), Traits(flag=True, repeatable=True)
    ] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("lora", "lora_dict"),
        description="LoRA as PATH_OR_ID[:SCALE]; may be given several times.",
    )
    ip_adapter: Annotated[str | None, Traits(flag=True)] = Field(
        default=None,
        description="IP-Adapter, which makes image prompts work: a .safetensors file, or one on the"
        " hub as USER/REPO/FOLDER/FILE.safetensors.",
    )
    image_encoder: str | None = Field(
        default=None,
        description="Image encoder of the IP-Adapter: a folder, or one on the hub as"
        " USER/REPO/FOLDER. Default: the one beside the adapter that fits it.",
    )
    image_prompt: Annotated[
        dict[str, float],
        BeforeValidator(_parse_loras),
        Field(max_length=MAX_IMAGE_PROMPTS),
        Traits(flag=True, repeatable=True),
    ] = Field(
        default_factory=dict,
        description="Image that the output should look like, as FILE[:SCALE]; may be given several"
        " times. camera[:SCALE] is the frame that image_prompt_grab takes, and is always there"
        " with an ip_adapter.",
    )
    use_lcm_lora: bool | None = Field(
        default=None,
        description="Fuse the LCM-LoRA. Default: only where the model is not made for few steps"
        " already.",
    )
    lcm_lora_id: str | None = Field(
        default=None, description="LCM-LoRA to fuse. Default: the one made for the model's family."
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
    use_denoising_batch: bool = Field(
        default=True, description="Run the steps of different frames as one batch (Stream Batch)."
    )
    cross_frame_attention: bool = Field(
        default=False, description="Let the frames of the stream batch attend to each other."
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
        Traits(flag=True),
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
        if self.cross_frame_attention and not self.use_denoising_batch:
            raise ValueError("cross_frame_attention needs use_denoising_batch=true")
        self._rules.check(self)
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

    def shows_camera(self, parameters: Parameters) -> bool:
        """Return whether the prompts of `parameters` are empty, and that means the camera image."""
        reads_negative = self.cfg_type in ("full", "initialize")
        empty = not (parameters.has_prompt or (reads_negative and parameters.has_negative_prompt))
        return empty and self.empty_prompt == "camera"

    @property
    def num_steps(self) -> int:
        """Denoising steps n, which no live change may alter: models and engines are made for n."""
        indices = self.live.t_index_list
        return self.steps or (len(indices) if indices else DEFAULT_STEPS)

    def indices(self, parameters: Parameters) -> tuple[int, ...]:
        """Return the n schedule indices of `parameters`."""
        return parameters.indices(self.num_steps, self.default_strength)

    @property
    def default_strength(self) -> float:
        """The strength where neither that nor the indices are set."""
        return 1.0 if self.mode == "txt2img" else 0.4

    def named_numbers(self) -> dict[str, NamedNumbers]:
        """Return what each live field of numbers by name begins with, where anything is named."""
        starts: dict[str, NamedNumbers] = {}
        for name, trait in NAMED_FIELDS.items():
            given: Mapping[str, float] = getattr(self, trait.named_by)
            short = short_names(given)
            if given:
                begins = [(short[item], value) for item, value in given.items()]
                fixed = trait.begins
                starts[name] = tuple((n, v if fixed is None else fixed) for n, v in begins)
        return starts

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
            known = short_names(getattr(self, trait.named_by)).values()
            if unknown := next((name for name, _ in numbers if name not in known), None):
                setting = trait.named_by.replace("_", " ")
                hint = suggest(unknown, known) if known else "none was given at start"
                raise ParameterError(f'{field}: no {setting} "{unknown:.40}": {hint}')


PARTS = ("broadcast", "video", "live")
"""Fields of `Config` that are tables of their own: in TOML all settings stand on one level."""

FIXED_NAMES = {name: field for name, field in accepted_names(Config).items() if field not in PARTS}
FIXED_NAMES |= accepted_names(BroadcastSettings) | accepted_names(VideoSettings)
LIVE_NAMES = accepted_names(Parameters)
