"""Load the components of the video model that the configuration names."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models import hub, model_files, model_names
from streamcam.models.families import RANDOM, Report
from streamcam.models.file_headers import read_json
from streamcam.models.weights import check_finite, check_no_missing_weights, explain_load_errors
from streamcam.settings.config import Config
from streamcam.video import wan_files
from streamcam.video.random_wan import (
    layers_of,
    random_taehv,
    random_text,
    random_transformer,
    random_vae,
)
from streamcam.video.taehv import TAEHV, load_taehv
from streamcam.video.umt5 import TextEncoder
from streamcam.video.wan_lora import fuse_loras
from streamcam.video.wan_weights import (
    HEAD_DIM,
    load_wan_transformer,
    load_wan_vae,
    load_weights,
    select_layers,
    wan_config,
)

SelectLayers = Callable[[int], range]
"""Returns the layers to load, given their number."""


class WanComponents(NamedTuple):
    """Components of a model, on its device."""

    transformer: Any
    """A `WanTransformer3DModel`."""
    vae: Any
    """An `AutoencoderKLWan`."""
    taehv: TAEHV | None
    """None unless it encodes or decodes."""
    encode_text: Callable[[str], Tensor]
    """To ``(1, L, text_dim)``, zero past the text."""


def load_components(
    config: Config,
    dtype: torch.dtype,
    device: torch.device,
    report: Report,
    select: SelectLayers = range,
) -> WanComponents:
    """Load the components of the model that `config` names, the transformer with some layers.

    Raises:
        ModelError: something is missing, damaged or does not fit.
    """
    if config.model.startswith(RANDOM):
        return _random_components(config, dtype, device, report, select)
    with hub.offline_mode(offline=config.offline):
        whole = wan_files.is_diffusers(config.model, offline=config.offline)
        folder = _base_folder(
            config.model if whole else config.video.video_base, config, whole=whole
        )
        transformer = load_transformer(config, dtype, device, select, report)
        report(f"model {config.model}: {_describe(transformer)}")
        return WanComponents(
            transformer,
            _load_vae(folder, config, dtype).to(device),
            _load_taehv(config, dtype).to(device) if _uses_taehv(config) else None,
            TextEncoder(folder, device, report),
        )


def load_transformer(
    config: Config,
    dtype: torch.dtype,
    device: torch.device,
    select: SelectLayers = range,
    report: Report = lambda _line: None,
) -> Any:
    """Load the transformer of the model that `config` names, with the layers of `select` alone.

    Its LoRAs are fused into them.

    Raises:
        ModelError: something is missing, damaged or does not fit.
    """
    whole, layers = 0, range(0)

    def remembered(count: int) -> range:
        nonlocal whole, layers
        whole, layers = count, select(count)
        return layers

    transformer = _load_base(config, dtype, device, remembered)
    if config.lora:
        with hub.offline_mode(offline=config.offline):
            fuse_loras(transformer, layers, whole, config, report)
    return transformer


def _load_base(
    config: Config, dtype: torch.dtype, device: torch.device, select: SelectLayers
) -> Any:
    if config.model.startswith(RANDOM):
        name = config.model.removeprefix(RANDOM)
        return random_transformer(name, dtype, device, layers=select(layers_of(name)))
    with hub.offline_mode(offline=config.offline):
        if wan_files.is_diffusers(config.model, offline=config.offline):
            folder = _base_folder(config.model, config, whole=True) / "transformer"
            return _load_folder(folder, dtype, select).to(device)
        return _load_file(config.model, config, dtype, select).to(device)


def fetch(config: Config, report: Report) -> None:
    """Fetch all files that `config` needs into the cache.

    Raises:
        ModelError: the hub cannot be reached, or does not have them.
    """
    offline = config.offline
    if not config.model.startswith(RANDOM):
        with hub.offline_mode(offline=offline):
            whole = wan_files.is_diffusers(config.model, offline=offline)
            _base_folder(config.model if whole else config.video.video_base, config, whole=whole)
            files = [] if whole else [config.model]
            if config.vae and config.vae != "full" and not _is_folder(config.vae):
                files.append(config.vae)
            if _uses_taehv(config):
                files.append(config.video.taehv)
            for name in files:
                wan_files.weights_file(name, offline=offline)
    for name in config.lora:
        model_files.lora_file(name, offline=offline, pickled=True)
    report(f"{config.model} is ready")


def _is_folder(vae: str) -> bool:
    """Return whether `vae` is a folder in diffusers layout."""
    return (Path(vae).expanduser() / "config.json").exists()


def _base_folder(name: str, config: Config, *, whole: bool) -> Path:
    unused = ("scheduler",) if whole else ("scheduler", "transformer")
    return model_files.pipeline_folder(
        name, offline=config.offline, half=False, without=unused, pull=hub.PULL_SAME_SETTINGS
    )


def _load_folder(folder: Path, dtype: torch.dtype, select: SelectLayers) -> Any:
    from diffusers import WanTransformer3DModel

    with explain_load_errors(f"the transformer in {folder}", folder, "fetch the model again"):
        config = WanTransformer3DModel.load_config(folder, local_files_only=True)
        with torch.device("meta"):
            model = WanTransformer3DModel.from_config(config)
        weights = wan_files.FolderWeights(folder)
    if model.config.image_dim or model.config.in_channels != model.config.out_channels:
        raise ModelError(f"{folder} starts from an image; take a text-to-video model")
    layers = select(len(model.blocks))
    model.blocks = model.blocks[layers.start : layers.stop]
    model.register_to_config(num_layers=len(layers))
    with wan_files.name_file_in_errors(folder):
        load_weights(model, select_layers(weights, layers), dtype)
    return model


def _load_file(name: str, config: Config, dtype: torch.dtype, select: SelectLayers) -> Any:
    path = wan_files.weights_file(name, offline=config.offline)
    if (path.parent / "config.json").exists() and path.name.startswith("diffusion_pytorch"):
        return _load_folder(path.parent, dtype, select)
    weights = wan_files.read_weights(path)
    with wan_files.name_file_in_errors(path):
        layers = select(wan_config(weights)["num_layers"])
        return load_wan_transformer(
            select_layers(weights, layers), dtype, head_dim=_head_dim(path.parent)
        )


def _head_dim(folder: Path) -> int:
    """Return the head dimension in a published ``config.json``, else the usual one."""
    with suppress(OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        config = read_json(folder / "config.json")
        return int(config["dim"]) // int(config["num_heads"])
    return HEAD_DIM


def _load_vae(folder: Path, config: Config, dtype: torch.dtype) -> Any:
    from diffusers import AutoencoderKLWan

    name = config.vae
    if name and name != "full" and not _is_folder(name):
        path = wan_files.weights_file(name, offline=config.offline)
        weights = wan_files.read_weights(path)
        with wan_files.name_file_in_errors(path):
            return load_wan_vae(weights, dtype)
    where = Path(name).expanduser() if name and name != "full" else folder / "vae"
    model_names.check_model_files(where)
    with explain_load_errors(f"the autoencoder in {where}", where, "fetch the model again"):
        vae = AutoencoderKLWan.from_pretrained(
            where, dtype=dtype, use_safetensors=True, local_files_only=True
        )
    check_no_missing_weights(vae, None, f"the autoencoder in {where}")
    check_finite(vae, f"the autoencoder in {where}")
    return vae.eval().requires_grad_(False)


def _load_taehv(config: Config, dtype: torch.dtype) -> TAEHV:
    path = wan_files.weights_file(config.video.taehv, offline=config.offline)
    weights = wan_files.read_weights(path)
    with wan_files.name_file_in_errors(path):
        taehv = load_taehv(weights, dtype)
    check_finite(taehv, str(path))
    return taehv


def _describe(transformer: Any) -> str:
    config = transformer.config
    billions = sum(p.numel() for p in transformer.parameters()) / 1e9
    width = config.num_attention_heads * config.attention_head_dim
    return f"Wan, {config.num_layers} layers of {width}, {billions:.1f} billion weights"


def _random_components(
    config: Config, dtype: torch.dtype, device: torch.device, report: Report, select: SelectLayers
) -> WanComponents:
    name = config.model.removeprefix(RANDOM)
    transformer = load_transformer(config, dtype, device, select, report)
    text_dim = transformer.config.text_dim
    report(f"model {config.model}: random weights, its output means nothing")
    return WanComponents(
        transformer,
        random_vae(name, dtype, device),
        random_taehv(dtype, device) if _uses_taehv(config) else None,
        lambda text: random_text(text, text_dim, device),
    )


def _uses_taehv(config: Config) -> bool:
    return "taehv" in (config.video.video_encoder, config.video.video_decoder)
