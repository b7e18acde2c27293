"""Image models: a diffusers pipeline as stages and the numbers that the sampler needs.

The differences between checkpoints end here.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.diffusion.attention import (
    PromptCache,
    enable_cross_frame_attention,
    fuse_self_attention,
)
from streamcam.diffusion.control_stages import ControlStages, control_stages, residual_shapes
from streamcam.diffusion.conv_folding import fold
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_prompt import ImagePromptModel, add_image_prompts
from streamcam.diffusion.live_loras import NO_LORAS, LiveLoras
from streamcam.diffusion.memory_need import build_refusal, memory_line, memory_need
from streamcam.diffusion.regions import PERSON, RegionMask, Segment, person_stage, picture_mask
from streamcam.diffusion.sampling_choice import sampling_of
from streamcam.diffusion.schedule import LCM, Sampling
from streamcam.diffusion.stages import Decode, Denoise, Encode, Text
from streamcam.diffusion.steering import LayerInputs
from streamcam.diffusion.temporal_memory import enable_temporal_memory
from streamcam.diffusion.text_encoding import encode_text, text_encoders
from streamcam.engines.build_process import build_in_child
from streamcam.engines.builder import EngineBuilder, WeightsSource
from streamcam.engines.cuda_graph import CudaCapture
from streamcam.engines.device_info import is_nvidia_gpu
from streamcam.engines.device_memory import device_memory
from streamcam.engines.device_tuning import tune
from streamcam.engines.eager import EagerEngine
from streamcam.engines.flat_stage import Rehearsal
from streamcam.engines.graphed_calls import GraphedCalls
from streamcam.engines.placement import Placement, place
from streamcam.engines.shared_engines import shared_engines
from streamcam.engines.store import Store
from streamcam.errors import ConfigError, EngineError
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.controlnet import Controls, load_controls
from streamcam.models.families import FAMILIES, Report, family_of, once
from streamcam.models.ip_adapter import load_ip_adapter
from streamcam.models.prompt_reader import load_prompt_reader
from streamcam.models.weight_bytes import model_size
from streamcam.models.weight_files import weights_source
from streamcam.settings.config import OFF, Config
from streamcam.settings.parameters import Parameters

NO_CONTROLS = Controls()
MEMORY_LINE = "memory of past frames: "
ENGINE_BUILD_MAIN = "streamcam.diffusion.build_engines:serve"
"""The function that a child process calls to build engines; it loads the same model."""


class ImageModel(NamedTuple):
    """The stages of one checkpoint, and the numbers that the sampler needs."""

    encode_text: Callable[[str], Text]
    encode: Callable[[Tensor, Tensor | None], Tensor]
    """``(f, 3, H, W)`` in [-1, 1], noise ``(f, C, h, w)`` to latents of the noise's shape.

    The noise is None unless `encode_uses_noise`.
    """
    denoise: Callable[..., Tensor]
    """x_t ``(rows, C, h, w)``, timesteps ``(rows,)`` and condition to eps ``(rows, C, h, w)``.

    With `Sampling.predicts_velocity` it returns v instead. With a `Steering` as a fourth argument,
    layers may add to that: see `Denoise`.
    """
    decode: Callable[[Tensor], Tensor]
    """Latents ``(f, C, h, w)`` to ``(f, 3, H, W)``, nominally in [-1, 1]."""
    add_prompt_kv: Callable[[Tensor], Tensor]
    """Prompt embeddings ``(b, L, D)`` to encoder hidden states ``(b, L, D')``.

    Appends the keys and values of every cross-attention, if those are cached.
    """
    alphas_cumprod: Tensor
    """``(train timesteps,)`` float32."""
    latent_shape: tuple[int, int, int]
    encode_uses_noise: bool
    """Whether `encode` samples from a posterior, as the full autoencoder does."""
    time_ids: Tensor | None
    device: torch.device
    region_mask: RegionMask | None = None
    """Images to the masks of the regions that have a strength of their own."""
    sampling: Sampling = LCM
    """The schedule and the sampler that the model was made for."""
    controls: Sequence[ControlStages] = ()
    """The ControlNets and T2I-Adapters, in the order of the settings."""
    memory_values: int = 0
    """Values of past frames that each row of a call carries; 0 without `temporal_memory`."""
    revision: Callable[[], int] = lambda: 0
    """Returns another number whenever a stage runs on another engine than before."""
    graphs: Callable[[], GraphedCalls] = GraphedCalls
    """Makes what runs the calls of one stream, as CUDA graphs where `acceleration` says so."""
    loras: LiveLoras = NO_LORAS
    """Those whose scales are live."""
    is_ready_for: Callable[[Parameters], bool] = lambda _: True
    """Whether those parameters can be used at once, and need not wait for a text encoder."""
    is_settled: Callable[[], bool] = lambda: True
    """Whether no engine is being built for a stage, nor what encodes texts being loaded."""
    image_prompts: ImagePromptModel | None = None
    """Encodes image prompts, with those given at start; None without an IP-Adapter."""
    on_warm: Callable[[], None] = lambda: None
    """To be called once all kinds of calls have been made."""


Rehearse = Callable[["ImageModel", Config], Rehearsal]
"""Returns the rehearsal of a model, given its stages as they are written."""


def load_image_model(
    config: Config,
    report: Report = print,
    *,
    builds_here: bool = False,
    tunes: bool = False,
    rehearse: Rehearse | None = None,
) -> ImageModel:
    """Load the model of `config` and move it to its device.

    Engines that are missing are built in another process, or in this one if `builds_here`: with
    `tunes` they are tuned, and those in int8 need a rehearsal.

    Raises:
        ConfigError: the device is missing, or the size does not fit the model.
        EngineError: the chosen acceleration cannot run here.
        ModelError: a file is missing, damaged or does not fit.
    """
    placement = place(config)
    tune(placement.device, placement.dtype)
    if config.threads:
        torch.set_num_threads(config.threads)
    size, memory = model_size(config), device_memory(placement.device)
    if size and memory:
        report(memory_line(config, size, placement, memory))
    before = weights_source(config, placement.weights_dtype)
    pipe = load_pipeline(config, placement.weights_dtype, report, placement.device)
    controls = load_controls(config, pipe.unet, placement.weights_dtype, report)
    report(str(placement))
    # What was exchanged while it was read may be neither the old nor the new.
    unchanged = weights_source(config, placement.weights_dtype) == before
    source = WeightsSource(*before) if unchanged else None
    return from_pipeline(
        pipe,
        config,
        placement.device,
        report,
        controls=controls,
        builds_here=builds_here,
        tunes=tunes,
        source=source,
        rehearse=rehearse,
    )


def from_pipeline(  # noqa: PLR0913
    pipe: Any,
    config: Config,
    device: torch.device,
    report: Report = print,
    *,
    controls: Controls = NO_CONTROLS,
    builds_here: bool = False,
    tunes: bool = False,
    source: WeightsSource | None = None,
    rehearse: Rehearse | None = None,
) -> ImageModel:
    """Return the stages of a diffusers pipeline, accelerated as `config` says.

    `controls` are the ControlNets that `config` names.

    With the `source` of its weights their hash is remembered from start to start.
    """
    from diffusers import LCMScheduler

    unet, vae, inputs = pipe.unet, pipe.vae, LayerInputs()
    for module in (unet, vae, *text_encoders(pipe)):
        module.to(device).eval().requires_grad_(False)
    scales = dict(config.live.lora_scale)
    loras = LiveLoras(unet, text_encoders(pipe), inputs, scales, device)
    # Twice as fast for convolutions on large images; no difference on small latents.
    vae.to(memory_format=torch.channels_last)
    if is_nvidia_gpu(device):
        # Tensor cores take convolutions in this layout only: others are converted each time.
        unet.to(memory_format=torch.channels_last)
        fuse_self_attention(unet)
    if type(vae).__name__ == "AutoencoderTiny":
        for part in (vae.encoder, vae.decoder):
            part.layers = fold(part.layers)
    if vae.config.get("force_upcast") and vae.dtype == torch.float16:
        vae.float()  # This autoencoder overflows in half precision.
    # The LCM scheduler understands every way in which configs give betas.
    scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    alphas_cumprod = scheduler.alphas_cumprod.float().to(device)
    prediction = pipe.scheduler.config.prediction_type
    sampling = sampling_of(pipe, config, alphas_cumprod, report)
    scale = 2 ** (len(vae.config.get("block_out_channels", ())) - 1)
    if config.width % scale or config.height % scale:
        raise ConfigError(f"this model needs a width and height that are multiples of {scale}")
    graphs = place(config).choice.graphs
    reader = load_prompt_reader(config.model, unet)
    latent_shape = (vae.config.latent_channels, config.height // scale, config.width // scale)
    residuals = residual_shapes(controls.nets, unet, latent_shape, (config.width, config.height))
    add_prompt_kv = _attention(unet, config)
    memory_values = _remember(unet, config, inputs, latent_shape[1:], report)
    model = ImageModel(
        encode_text=partial(
            encode_text,
            pipe,
            device=device,
            # Encoded at several scales of a LoRA, a text is cut off at the same place each time.
            report=once(report) if loras.in_texts else report,
            reader=reader,
            syntax=config.prompt_syntax,
            chunks=config.prompt_chunks,
        ),
        encode=Encode(vae),
        denoise=Denoise(
            unet,
            prediction,
            alphas_cumprod,
            inputs,
            returns_velocity=sampling.predicts_velocity,
            residual_shapes=residuals,
        ),
        decode=Decode(vae),
        add_prompt_kv=add_prompt_kv,
        alphas_cumprod=alphas_cumprod,
        latent_shape=latent_shape,
        encode_uses_noise=hasattr(vae, "quant_conv"),
        time_ids=_time_ids(unet, config, device),
        device=device,
        sampling=sampling,
        loras=loras,
        controls=control_stages(controls.nets, config, residuals, device, controls.drawn_by),
        memory_values=memory_values,
        graphs=partial(GraphedCalls, CudaCapture(device), report) if graphs else GraphedCalls,
    )
    regions = _regions(model, config, vae.dtype)
    if config.ip_adapter:
        model = model._replace(image_prompts=_image_prompts(pipe, config, device, inputs))
    rehearsal = rehearse(model, config) if rehearse else None
    accelerate = _accelerator(
        config,
        report,
        builds_here=builds_here,
        tunes=tunes,
        source=source,
        rehearsal=rehearsal,
    )
    return model._replace(
        encode=accelerate.stage(model.encode),
        denoise=accelerate.stage(model.denoise),
        decode=accelerate.stage(model.decode),
        region_mask=accelerate.stage(regions) if isinstance(regions, Segment) else regions,
        controls=[each.accelerated(accelerate.stage) for each in model.controls],
        revision=accelerate.revision,
        is_settled=accelerate.is_settled,
    )


class _Accelerator(NamedTuple):
    stage: Callable[[Any], Callable[..., Tensor]]
    """Accelerates a stage; in float32 without an engine it returns the stage itself."""
    revision: Callable[[], int]
    """See `ImageModel.revision`."""
    is_settled: Callable[[], bool]
    """See `ImageModel.is_settled`."""


def _accelerator(
    config: Config,
    report: Report,
    *,
    builds_here: bool,
    tunes: bool,
    source: WeightsSource | None,
    rehearsal: Rehearsal | None,
) -> _Accelerator:
    """Return what accelerates stages as `config` says."""
    placement = place(config)
    engines = list(placement.choice.engines)
    if placement.weights_dtype != torch.float32:
        engines.append(EagerEngine(placement.device, placement.weights_dtype))
    if not engines:
        return _Accelerator(lambda stage: stage, lambda: 0, lambda: True)
    process = None if builds_here else partial(_build_in_child, config, placement)
    # By default callers get the same outputs every time: they wait for the engine.
    waits = config.engine_wait is not False
    builder = EngineBuilder(
        engines,
        Store(config.engine_dir, shared_engines(config.engine_store, report)),
        report,
        builder=process,
        waits=waits,
        tunes=tunes,
        source=source,
        rehearsal=rehearsal,
    )
    return _Accelerator(builder, lambda: builder.revision, lambda: builder.is_settled)


def _build_in_child(config: Config, placement: Placement) -> Iterator[str]:
    """Build the engines of `config` in a process that loads the same model; yield its lines.

    Raises:
        EngineError: there is no room for it.
    """
    size, memory = model_size(config), device_memory(placement.device)
    if size and memory:
        need = memory_need(config, size, placement)
        if refusal := build_refusal(need, placement, memory):
            raise EngineError(refusal)
    yield from build_in_child(ENGINE_BUILD_MAIN, config)


def _attention(unet: Any, config: Config) -> Callable[[Tensor], Tensor]:
    """Set the attention processors of `unet`; return the function `ImageModel.add_prompt_kv`."""
    n, f = config.num_steps, config.frame_buffer_size
    if config.cross_frame_attention:
        negative = GUIDANCE[config.cfg_type].negative_rows(n) * f
        enable_cross_frame_attention(unet, [negative, n * f] if negative else [n * f])
    return PromptCache(unet) if config.cache_prompt_kv else nn.Identity()


def _regions(model: ImageModel, config: Config, dtype: torch.dtype) -> RegionMask | None:
    """Return what finds the regions that have a strength of their own, if any."""
    if config.region_mask == OFF:
        return None
    if config.region_mask == PERSON:
        return person_stage(config, model.latent_shape, model.device, dtype)
    return picture_mask(config, model.latent_shape, model.device)


def _image_prompts(
    pipe: Any, config: Config, device: torch.device, inputs: LayerInputs
) -> ImagePromptModel:
    """Load the IP-Adapter of `config` into a U-Net that has its processors for texts."""
    family = FAMILIES[family_of(pipe)].name
    adapter = load_ip_adapter(config, pipe.unet, family, pipe.unet.dtype).to(device)
    return add_image_prompts(pipe.unet, adapter, config, inputs)


def _remember(
    unet: Any, config: Config, inputs: LayerInputs, size: tuple[int, int], report: Report
) -> int:
    """Give `unet` the memory that `config` asks for; return its values for each row."""
    if config.temporal_memory == "off":
        return 0
    features = config.temporal_memory == "features"
    values = enable_temporal_memory(unet, inputs, size, features=features)
    n, f = config.num_steps, config.frame_buffer_size
    rows = (n + GUIDANCE[config.cfg_type].negative_rows(n)) * f
    outputs = 3 * config.height * config.width if features else 0
    report(f"{MEMORY_LINE}{(rows * values + outputs) * 4 / 1e6:.0f} MB")
    return values


def _time_ids(unet: Any, config: Config, device: torch.device) -> Tensor | None:
    if unet.config.addition_embed_type != "text_time":
        return None
    size = (config.height, config.width)
    return torch.tensor([[*size, 0, 0, *size]], dtype=unet.dtype, device=device)
