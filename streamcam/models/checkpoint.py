"""Load the diffusers pipeline that the user names, with its autoencoder and LoRAs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from streamcam.errors import ModelError
from streamcam.models import hub, model_files, model_names
from streamcam.models.autoencoder import autoencoder, keeps_own
from streamcam.models.controlnet import load_controls
from streamcam.models.families import FAMILIES, FAMILY_CHANNELS, RANDOM, Report, family_of
from streamcam.models.few_step import few_step_model
from streamcam.models.file_headers import read_json
from streamcam.models.ip_adapter import fetch_ip_adapter
from streamcam.models.lora import apply_all
from streamcam.models.random_models import CPU, random_pipeline
from streamcam.models.scheduler_config import predicting
from streamcam.models.single_file import load_single_file
from streamcam.models.single_file_weights import SCALE_NAMES
from streamcam.models.textual_inversion import load_embeddings
from streamcam.models.unet_file import load_unet
from streamcam.models.weights import (
    check_finite,
    check_no_missing_weights,
    explain_load_errors,
    tensor_names,
)
from streamcam.settings.config import Config
from streamcam.settings.model_settings import AUTO

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "LatentConsistencyModelPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
)
UNUSED_PARTS = ("safety_checker", "feature_extractor", "image_encoder")
PREDICTIONS = {
    "epsilon": "the noise (epsilon)",
    "v_prediction": "the velocity (v)",
    "sample": "the image (sample)",
}
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")
"""Parts that a pipeline must have, if its class has a place for them."""
SINGLE_FILE_VAE = "AutoencoderKL"
MODEL_FILES = (("config.json", "*.safetensors"),)
TOKENIZER_FILES = (("vocab.json", "merges.txt"), ("tokenizer.json",))
REQUIRED_FILES: dict[str, tuple[tuple[str, ...], ...]] = {
    "unet": MODEL_FILES,
    "vae": MODEL_FILES,
    "text_encoder": MODEL_FILES,
    "text_encoder_2": MODEL_FILES,
    "scheduler": (("scheduler_config.json",),),
    "tokenizer": TOKENIZER_FILES,
    "tokenizer_2": TOKENIZER_FILES,
}
"""Alternative sets of files that each part must have: libraries make up the missing ones."""


def load_pipeline(
    config: Config, dtype: torch.dtype, report: Report, device: torch.device = CPU
) -> Any:
    """Return the diffusers pipeline that `config` names, with its LoRAs and its embeddings.

    Args:
        config: what to load.
        dtype: of the weights.
        report: takes a line for the user at a time.
        device: makes random weights, if it is a GPU; all others are loaded on the CPU.

    Raises:
        ModelError: something is missing, damaged or does not fit.
    """
    _silence_libraries()
    with hub.offline_mode(offline=config.offline):
        pipe = _load_base(config, dtype, report, device)
        _check_is_streamable(pipe, config.model)
        if config.unet is not None:
            load_unet(pipe, config, dtype, report)
        _apply_prediction(pipe, config)
        report(f"model {config.model}: {_description(pipe)}")
        pipe.register_modules(vae=autoencoder(pipe, config, dtype))
        apply_all(pipe, config, report)
        load_embeddings(pipe, config, report)
    if not config.model.startswith(RANDOM):
        for part, module in pipe.components.items():
            if isinstance(module, torch.nn.Module):
                check_finite(module, f"{part} of {config.model}")
    return pipe


def _apply_prediction(pipe: Any, config: Config) -> None:
    """Let `pipe` predict what `config`, or the published name of a file, says, if they do."""
    kind: str | None = None if config.prediction_type == AUTO else config.prediction_type
    if kind is None and (known := few_step_model(config, lcm_lora=False)):
        kind = known.kind.prediction
    if kind is not None or config.rescale_betas_zero_snr is not None:
        zero_snr = config.rescale_betas_zero_snr
        pipe.scheduler = predicting(pipe.scheduler, kind, zero_snr=zero_snr)


def _description(pipe: Any) -> str:
    """Return the family of a model, its size if it is of none, and what its U-Net predicts."""
    if pipe.unet.config.in_channels == FAMILY_CHANNELS:
        kind = FAMILIES[family_of(pipe)].name
    else:
        parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
        count = sum(weight.numel() for part in parts for weight in part.parameters())
        kind = f"{count / 1e6:.0f} million parameters"
    return f"{kind}, predicts {PREDICTIONS[pipe.scheduler.config.prediction_type]}"


def fetch(config: Config, dtype: torch.dtype, report: Report) -> None:
    """Download into the cache all that `config` needs, by loading it once.

    Raises:
        ModelError: the hub cannot be reached, or does not have it.
    """
    pipe = load_pipeline(config, dtype, report)
    load_controls(config, pipe.unet, dtype, report)
    with hub.offline_mode(offline=config.offline):
        fetch_ip_adapter(config)
    report(f"{config.model} is ready")


def _load_base(config: Config, dtype: torch.dtype, report: Report, device: torch.device) -> Any:
    if config.model.startswith(RANDOM):
        return random_pipeline(config.model.removeprefix(RANDOM), dtype=dtype, device=device)
    path = model_names.local_path(config.model)
    if path is not None and path.is_file():
        own_vae = keeps_own(config, SINGLE_FILE_VAE)
        return load_single_file(path, config, dtype, report, own_vae=own_vae)
    return _from_folder(config, dtype)


def _from_folder(config: Config, dtype: torch.dtype) -> Any:
    from diffusers import DiffusionPipeline

    name, half = config.model, dtype != torch.float32
    parts = _parts(model_files.model_index(name, offline=config.offline), name)
    unused = [part for part in UNUSED_PARTS if part in parts]
    folder = model_files.pipeline_folder(name, offline=config.offline, half=half, without=unused)
    if not keeps_own(config, parts.get("vae")):
        parts["vae"], unused = None, [*unused, "vae"]  # It may be missing: another takes its place.
    _check_files(folder, [part for part in REQUIRED_FILES if parts.get(part)])
    if any(tensor.endswith(SCALE_NAMES) for tensor in tensor_names(folder / "unet")):
        # diffusers would leave the scales out.
        raise ModelError(
            f"{folder / 'unet'} holds float8 weights with scales, which are read from single files"
            " alone: give it with --unet, or get the model in float16"
        )
    with explain_load_errors(name, folder, "fetch the model again"):
        pipe = DiffusionPipeline.from_pretrained(
            str(folder),
            dtype=dtype,
            variant=_variant(folder / "unet", half=half),
            use_safetensors=True,
            local_files_only=True,
            **dict.fromkeys(unused),
        )
    for part, module in pipe.components.items():
        if isinstance(module, torch.nn.Module):
            # transformers makes up weights that a file lacks; diffusers leaves them empty.
            stored = tensor_names(folder / part) if part in TEXT_ENCODERS else None
            check_no_missing_weights(module, stored, f"{part} of {name}")
    return pipe


def _parts(index: Path, name: str) -> dict[str, str | None]:
    """Return the class of each part in the index of a pipeline, if that is one that can run."""
    with explain_load_errors(name, index, "fetch the model again"):
        table = read_json(index)
        class_name = table.get("_class_name")
        # A part is a pair of a library and a class of it; both are null where there is none.
        parts = {part: pair[1] for part, pair in table.items() if isinstance(pair, list)}
    if class_name not in PIPELINES:
        raise ModelError(
            f"{name} is a {class_name}; streamcam runs SD 1.x, SD 2.x, SDXL and their Turbos"
        )
    return parts


def _check_files(folder: Path, parts: Iterable[str]) -> None:
    for part in parts:
        missing_of_sets = [
            [f for f in files if not any((folder / part).glob(f))] for files in REQUIRED_FILES[part]
        ]
        missing = min(missing_of_sets, key=len)
        if missing and any((folder / part).glob("*.bin")):
            raise ModelError(
                f"{folder / part} has pickled weights alone, which can run code;"
                " get the model as .safetensors"
            )
        if missing:
            raise ModelError(
                f"{folder / part} lacks {' and '.join(missing)}; fetch the model again"
            )


def _variant(unet: Path, *, half: bool) -> str | None:
    plain = any(f for f in unet.glob("*.safetensors") if ".fp16" not in f.name)
    halved = any(unet.glob("*.fp16*.safetensors"))
    return "fp16" if halved and (half or not plain) else None


def _check_is_streamable(pipe: Any, name: str) -> None:
    """Raise ModelError for variants of a known pipeline that cannot run as a stream."""
    takes, encoded = pipe.unet.config.in_channels, pipe.unet.config.out_channels
    if takes != encoded:
        raise ModelError(
            f"{name} takes {takes} channels where its autoencoder makes {encoded}:"
            " inpainting and depth models cannot run as a stream; choose the plain model"
        )
    if pipe.config.get("requires_aesthetics_score"):
        raise ModelError(f"{name} is a refiner, which cannot run alone; choose its base model")
    for part in PARTS:
        # SDXL has a second text encoder, which other families' pipelines have no place for.
        if part in pipe.components and pipe.components[part] is None:
            raise ModelError(f"{name} has no {part}; get the whole model")
    if type(pipe.scheduler).__name__.startswith("EDM"):
        raise ModelError(f"{name} was trained on the EDM schedule, which streamcam does not run")
    if pipe.scheduler.config.get("prediction_type") not in PREDICTIONS:
        raise ModelError(
            f"{name} predicts {pipe.scheduler.config.get('prediction_type')};"
            f" known: {', '.join(PREDICTIONS)}"
        )


def _silence_libraries() -> None:
    """Silence the progress bars and warnings of loading; those of downloading stay."""
    import transformers
    from diffusers.utils import logging
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

    downloads_hidden = are_progress_bars_disabled()
    for library in (logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
    if not downloads_hidden:
        enable_progress_bars()
