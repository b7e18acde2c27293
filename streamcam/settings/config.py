"""Everything fixed at start, from presets, TOML files, flags and ``--set``."""

import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from streamcam.errors import ConfigError, ParameterError, suggest
from streamcam.plugins import plugin_names
from streamcam.settings.base import Settings, canonical, from_json
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.parameters import FLAG, Parameters, index_list
from streamcam.settings.presets import own_settings
from streamcam.settings.video_settings import MAX_VIDEO_STEPS, VideoSettings

DEFAULT_STEPS = 2
PARTS = ("broadcast", "video", "live")
AUTO = "auto"
ACCELERATIONS = (AUTO, "eager", "compiled", "openvino", "tensorrt")
"""The values of `acceleration` without any plugin."""
ENGINE_PLUGINS = "streamcam.engines"
"""Group of the entry points through which installed packages add engines."""


def _loras(value: Any) -> Any:
    value = from_json(value)
    items = [value] if isinstance(value, str) else value
    if isinstance(items, (list, tuple)):
        return dict(_lora(str(item)) for item in items)
    return value


def _lora(item: str) -> tuple[str, float]:
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

    pipeline: Literal["image", "video"] = Field(
        default="image",
        description="Each frame by itself, or as video that keeps steady over time.",
        json_schema_extra=FLAG,
    )
    model: str = Field(
        default=AUTO,
        validation_alias=AliasChoices("model", "model_id_or_path"),
        description="Hub id, folder in diffusers layout, .safetensors file, random:NAME, or nano,"
        " which comes with streamcam. auto: SD-Turbo if it is in the cache, else nano.",
        json_schema_extra=FLAG,
    )
    single_file_config: str | None = Field(
        default=None,
        description="Folder or hub id whose config files describe a single-file model."
        " Default: the family that the file's tensors belong to, from the hub.",
    )
    mode: Literal["img2img", "txt2img"] = Field(
        default="img2img", description="From the camera's picture, or from noise alone."
    )
    vae: str | None = Field(
        default=None,
        validation_alias=AliasChoices("vae", "vae_id"),
        description='Autoencoder: hub id or folder, "full" for the model\'s own.'
        " Default: TAESD or TAESDXL.",
        json_schema_extra=FLAG,
    )
    use_tiny_vae: bool = Field(
        default=True, description="Use the tiny autoencoder where none is named."
    )
    lora: Annotated[dict[str, float], BeforeValidator(_loras)] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("lora", "lora_dict"),
        description="LoRA as PATH_OR_ID[:SCALE]; may be given several times.",
        json_schema_extra=FLAG,
    )
    use_lcm_lora: bool | None = Field(
        default=None,
        description="Fuse the LCM-LoRA. Default: only where the model is not few-step already.",
    )
    lcm_lora_id: str | None = Field(
        default=None, description="LCM-LoRA to fuse. Default: the one made for the model's family."
    )
    width: Side = Field(default=512, description="Pixels, by 8.", json_schema_extra=FLAG)
    height: Side = Field(default=512, description="Pixels, by 8.", json_schema_extra=FLAG)
    fit: Literal["fill", "fit", "stretch"] = Field(
        default="fill",
        description="How another aspect ratio is met: crop, add bars, or distort.",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        le=50,
        description="Number of denoising steps. Default: as many as t_index_list has, else 2.",
    )
    frame_buffer_size: int = Field(
        default=1, ge=1, le=64, description="Frames in one call.", json_schema_extra=FLAG
    )
    cfg_type: Literal["none", "full", "self", "initialize"] = Field(
        default="self",
        description="Guidance: none, full CFG, or residual CFG (self-, onetime-negative).",
        json_schema_extra=FLAG,
    )
    do_add_noise: bool = Field(default=True, description="Add noise again between the steps.")
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
        default="centred", description="Similarity about the mean, or the paper's plain cosine."
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|xpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda, cuda:N, mps or xpu.",
        json_schema_extra=FLAG,
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16", "float8"] = Field(
        default="auto",
        description="Number format of the models. auto: float16 on a GPU, bfloat16 on a processor"
        " that computes in it, else float32. float8: the U-Net on tensorrt, the rest as float16.",
        json_schema_extra=FLAG,
    )
    acceleration: Annotated[str, AfterValidator(_acceleration)] = Field(
        default=AUTO,
        description="How the models run: as they are written, or on engines made for this machine."
        " auto: the fastest that is here.",
        json_schema_extra=FLAG | {"choices": list(ACCELERATIONS)},
    )
    engine_dir: str | None = Field(
        default=None, description="Folder that engines are kept in. Default: in the user's cache."
    )
    engine_wait: bool | None = Field(
        default=None,
        description="Wait for engines that are still to be built. Default: on air they are built"
        " beside the picture, elsewhere waited for.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Processor threads of the model; 0 takes as many as there are cores, and on"
        " air leaves one of them to all else.",
    )
    warmup: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Calls on black frames before the first real one; if any, at least one a step.",
    )
    offline: bool = Field(
        default_factory=lambda: os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE"),
        description="Never reach for the hub.",
        json_schema_extra=FLAG,
    )
    broadcast: BroadcastSettings = Field(
        default_factory=BroadcastSettings, description="What comes in and where it goes."
    )
    video: VideoSettings = Field(
        default_factory=VideoSettings, description="What pipeline=video is told beside all this."
    )
    live: Parameters = Field(default_factory=Parameters, description="The first live snapshot.")

    _by_8 = field_validator("width", "height")(_multiple_of_8)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cross_frame_attention and not self.use_denoising_batch:
            raise ValueError("cross_frame_attention needs use_denoising_batch=true")
        if self.pipeline == "video":
            self._check_video()
        self.check(self.live)
        return self

    def _check_video(self) -> None:
        most = min(MAX_VIDEO_STEPS, len(self.video.timesteps(MAX_VIDEO_STEPS)))
        if self.num_steps > most:
            raise ValueError(f"pipeline=video takes 1 to {most} steps, got {self.num_steps}")
        if self.width % 16 or self.height % 16:
            raise ValueError(
                f"pipeline=video needs sides that are multiples of 16, got"
                f" {self.width}x{self.height}"
            )
        if self.mode == "txt2img":
            raise ValueError("pipeline=video follows a video; txt2img is for pipeline=image")

    @property
    def chunk(self) -> int:
        """Frames that the stream takes, and gives, at a time."""
        return self.video.chunk if self.pipeline == "video" else self.frame_buffer_size

    @property
    def waiting(self) -> int:
        """Most frames that may wait, on air, to be taken at once."""
        return self.video.input_capacity if self.pipeline == "video" else self.frame_buffer_size

    @property
    def burst(self) -> int:
        """Most pictures that come out of the stream at once."""
        return self.video.burst if self.pipeline == "video" else self.frame_buffer_size

    @property
    def num_steps(self) -> int:
        """Denoising steps n: structural, so fixed while the stream runs."""
        given = self.live.t_index_list
        return self.steps or (len(given) if given else DEFAULT_STEPS)

    def indices(self, parameters: Parameters) -> tuple[int, ...]:
        """Return the n schedule indices of `parameters`."""
        default_strength = 1.0 if self.mode == "txt2img" else 0.4
        return parameters.indices(self.num_steps, default_strength)

    def changed(self, parameters: Parameters, changes: Mapping[str, Any]) -> Parameters:
        """Return `parameters` with live `changes`.

        Raises:
            ParameterError: a value is refused, or would change what is fixed at start.
        """
        if fixed := [name for name in changes if name in _FIXED]:
            raise ParameterError(f'"{fixed[0]}" is fixed at start and cannot change live')
        return self.check(parameters.changed(changes))

    def check(self, parameters: Parameters) -> Parameters:
        """Return `parameters` if this structure can run them, else raise ParameterError."""
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
        return parameters


_FIXED = {n: own for n, own in canonical(Config).items() if own not in PARTS}
_FIXED |= canonical(BroadcastSettings) | canonical(VideoSettings)
_LIVE = canonical(Parameters)


def build_config(layers: Iterable[Mapping[str, Any]]) -> Config:
    """Return the Config made of `layers`, flat tables of settings, later ones winning.

    Below them all is what the model itself brings in its folder.

    Raises:
        ConfigError: a name is unknown (the nearest is named) or a value is refused.
    """
    fixed: dict[str, Any] = {}
    live: dict[str, Any] = {}
    layers = list(layers)
    models = [_sorted(layer)[0].get("model") for layer in layers]
    model = next((str(name) for name in reversed(models) if name is not None), AUTO)
    for layer in [own_settings(model), *layers]:
        settings, changes = _sorted(layer)
        fixed |= settings
        live |= changes
        if changes.get("t_index_list") is not None:
            live.pop("strength", None)
            if "steps" not in settings:
                fixed["steps"] = _count(changes["t_index_list"])
        elif changes.get("strength") is not None:
            live.pop("t_index_list", None)
    tables: dict[str, type[Settings]] = {"broadcast": BroadcastSettings, "video": VideoSettings}
    parts: dict[str, Settings] = {"live": Parameters.parse(live)}
    for part, table in tables.items():
        own = {name: fixed.pop(name) for name in table.model_fields if name in fixed}
        parts[part] = table.parse(own)
    return Config.parse(fixed | parts)


def with_model(config: Config, model: str) -> Config:
    """Return `config` for another model: what was given stays, the rest is as that model has it."""
    parts = (config, config.broadcast, config.video, config.live)
    given = {n: getattr(part, n) for part in parts for n in part.model_fields_set if n not in PARTS}
    return build_config([given, {"model": model}])


def _sorted(layer: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what of `layer` is fixed at start and what is live, by the fields' own names."""
    fixed: dict[str, Any] = {}
    live: dict[str, Any] = {}
    for name, value in layer.items():
        if name in _LIVE:
            live[_LIVE[name]] = value
        elif name in _FIXED:
            fixed[_FIXED[name]] = value
        else:
            raise ConfigError(f'unknown setting "{name}": {suggest(name, [*_FIXED, *_LIVE])}')
    return fixed, live


def _count(indices: Any) -> int | None:
    """Return how many indices are given; None for what is no list, which is refused later."""
    listed = index_list(indices)
    return len(listed) if isinstance(listed, (list, tuple)) and listed else None
