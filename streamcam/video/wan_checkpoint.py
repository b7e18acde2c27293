"""From what the user names to the parts of a video model."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models import hub
from streamcam.models.families import RANDOM, Report
from streamcam.models.weights import check_no_missing_weights, explain_load_errors
from streamcam.settings.config import Config
from streamcam.video import wan_files
from streamcam.video.random_wan import (
    layers_of,
    random_taehv,
    random_text,
    random_transformer,
    random_vae,
)
from streamcam.video.taehv import TAEHV, taehv
from streamcam.video.umt5 import TextEncoder
from streamcam.video.wan_weights import (
    HEAD_DIM,
    fill,
    only_layers,
    wan_config,
    wan_transformer,
    wan_vae,
)

Cut = Callable[[int], range]
"""Given how many layers there are, those to load."""


class Parts(NamedTuple):
    """What a model is made of, on its device."""

    transformer: Any
    """A `WanTransformer3DModel`."""
    vae: Any
    """An `AutoencoderKLWan`."""
    taehv: TAEHV | None
    """Where it encodes or decodes."""
    encode_text: Callable[[str], Tensor]
    """To ``(1, L, text_dim)``, zero past the text."""


def load_parts(
    config: Config, dtype: torch.dtype, device: torch.device, report: Report, cut: Cut = range
) -> Parts:
    """Return the parts of the model that `config` names, the transformer with the layers of `cut`.

    Raises:
        ModelError: something is missing, damaged or does not fit.
    """
    if config.model.startswith(RANDOM):
        return _random(config, dtype, device, report, cut)
    with hub.offline_mode(offline=config.offline):
        whole = wan_files.is_diffusers(config.model, offline=config.offline)
        folder = _base(config.model if whole else config.video.video_base, config, whole=whole)
        transformer = load_transformer(config, dtype, device, cut)
        report(f"model {config.model}: {_described(transformer)}")
        return Parts(
            transformer,
            _autoencoder(folder, config, dtype).to(device),
            _taehv(config, dtype).to(device) if _tiny(config) else None,
            TextEncoder(folder, device),
        )


def load_transformer(
    config: Config, dtype: torch.dtype, device: torch.device, cut: Cut = range
) -> Any:
    """Return the transformer of the model that `config` names, with the layers of `cut` alone.

    Raises:
        ModelError: something is missing, damaged or does not fit.
    """
    if config.model.startswith(RANDOM):
        name = config.model.removeprefix(RANDOM)
        return random_transformer(name, dtype, device, layers=cut(layers_of(name)))
    with hub.offline_mode(offline=config.offline):
        if wan_files.is_diffusers(config.model, offline=config.offline):
            folder = _base(config.model, config, whole=True) / "transformer"
            return _from_folder(folder, dtype, cut).to(device)
        return _from_file(config.model, config, dtype, cut).to(device)


def fetch(config: Config, report: Report) -> None:
    """Bring into the cache all files that `config` needs.

    Raises:
        ModelError: the hub cannot be reached, or does not have them.
    """
    offline = config.offline
    if not config.model.startswith(RANDOM):
        with hub.offline_mode(offline=offline):
            whole = wan_files.is_diffusers(config.model, offline=offline)
            _base(config.model if whole else config.video.video_base, config, whole=whole)
            others = [] if whole else [config.model]
            if config.vae and config.vae != "full" and not _is_folder(config.vae):
                others.append(config.vae)
            if _tiny(config):
                others.append(config.video.taehv)
            for name in others:
                wan_files.weights_file(name, offline=offline)
    report(f"{config.model} is ready")


def _is_folder(vae: str) -> bool:
    """Tell whether `vae` is a folder in diffusers layout."""
    return (Path(vae).expanduser() / "config.json").exists()


def _base(name: str, config: Config, *, whole: bool) -> Path:
    unused = ("scheduler",) if whole else ("scheduler", "transformer")
    return hub.pipeline_folder(name, offline=config.offline, half=False, without=unused)


def _from_folder(folder: Path, dtype: torch.dtype, cut: Cut) -> Any:
    from diffusers import WanTransformer3DModel

    with explain_load_errors(f"the transformer in {folder}", folder, "fetch the model again"):
        config = WanTransformer3DModel.load_config(folder, local_files_only=True)
        with torch.device("meta"):
            model = WanTransformer3DModel.from_config(config)
        weights = wan_files.Stored(folder)
    if model.config.image_dim or model.config.in_channels != model.config.out_channels:
        raise ModelError(f"{folder} starts from an image; take a text-to-video model")
    own = cut(len(model.blocks))
    model.blocks = model.blocks[own.start : own.stop]
    model.register_to_config(num_layers=len(own))
    with wan_files.naming(folder):
        fill(model, only_layers(weights, own), dtype)
    return model


def _from_file(name: str, config: Config, dtype: torch.dtype, cut: Cut) -> Any:
    path = wan_files.weights_file(name, offline=config.offline)
    if (path.parent / "config.json").exists() and path.name.startswith("diffusion_pytorch"):
        return _from_folder(path.parent, dtype, cut)
    weights = wan_files.read(path)
    with wan_files.naming(path):
        layers = cut(wan_config(weights)["num_layers"])
        return wan_transformer(only_layers(weights, layers), dtype, head_dim=_head_dim(path.parent))


def _head_dim(folder: Path) -> int:
    """Return the head dimension that a published ``config.json`` says, else that of all of them."""
    with suppress(OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return int(config["dim"]) // int(config["num_heads"])
    return HEAD_DIM


def _autoencoder(folder: Path, config: Config, dtype: torch.dtype) -> Any:
    from diffusers import AutoencoderKLWan

    name = config.vae
    if name and name != "full" and not _is_folder(name):
        path = wan_files.weights_file(name, offline=config.offline)
        weights = wan_files.read(path)
        with wan_files.naming(path):
            return wan_vae(weights, dtype)
    where = Path(name).expanduser() if name and name != "full" else folder / "vae"
    with explain_load_errors(f"the autoencoder in {where}", where, "fetch the model again"):
        vae = AutoencoderKLWan.from_pretrained(
            where, dtype=dtype, use_safetensors=True, local_files_only=True
        )
    check_no_missing_weights(vae, None, f"the autoencoder in {where}")
    return vae.eval().requires_grad_(False)


def _taehv(config: Config, dtype: torch.dtype) -> TAEHV:
    path = wan_files.weights_file(config.video.taehv, offline=config.offline)
    weights = wan_files.read(path)
    with wan_files.naming(path):
        return taehv(weights, dtype)


def _described(transformer: Any) -> str:
    config = transformer.config
    billions = sum(p.numel() for p in transformer.parameters()) / 1e9
    width = config.num_attention_heads * config.attention_head_dim
    return f"Wan, {config.num_layers} layers of {width}, {billions:.1f} billion weights"


def _random(
    config: Config, dtype: torch.dtype, device: torch.device, report: Report, cut: Cut
) -> Parts:
    name = config.model.removeprefix(RANDOM)
    transformer = load_transformer(config, dtype, device, cut)
    text_dim = transformer.config.text_dim
    report(f"model {config.model}: random weights, the pictures mean nothing")
    return Parts(
        transformer,
        random_vae(name, dtype, device),
        random_taehv(dtype, device) if _tiny(config) else None,
        lambda text: random_text(text, text_dim, device),
    )


def _tiny(config: Config) -> bool:
    return "taehv" in (config.video.video_encoder, config.video.video_decoder)
