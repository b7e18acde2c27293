"""Check that the models named in the settings exist, without torch, the hub, or reading weights."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from streamcam.embedded_model import NANO, embedded
from streamcam.errors import ModelError
from streamcam.models import hub, hub_cache, model_files, model_names
from streamcam.models.families import RANDOM
from streamcam.models.ip_adapter_files import check_image_prompts
from streamcam.models.region_picture import region_picture
from streamcam.settings import aliases
from streamcam.settings.config import Config
from streamcam.settings.control_inputs import MODEL_SETTINGS

FULL = "full"
SAME = hub.PULL_SAME_SETTINGS
"""The remedy for all but the model itself, which alone is pulled by its name."""
REGION_WORDS = ("off", "person")
"""Values of ``region_mask`` that name no picture."""


def check_image_models(config: Config) -> None:
    """Raise ModelError if a model that `config` names is surely missing.

    What the hub alone can answer is asked when the model loads.
    """
    offline = config.offline
    if config.region_mask not in REGION_WORDS:
        region_picture(config.region_mask)
    if not config.model.startswith(RANDOM):
        _check_image_model(config.model, offline=offline)
    if config.vae not in (None, FULL):
        _check_cached(config.vae, model_names.local_path(config.vae), offline=offline, pull=SAME)
    if config.unet is not None:
        repo, file = model_names.split_file(config.unet, model_names.WEIGHT_SUFFIXES)
        if not file:
            model_files.unet_file(config.unet, offline=True)
        _check_cached(repo, None if file else Path(config.unet), offline=offline, pull=SAME)
    lcm = [config.lcm_lora_id] if config.use_lcm_lora and config.lcm_lora_id else []
    _check_loras([*config.lora, *lcm], offline=offline, pickled=False)
    for embedding in config.embedding:
        repo_of_it, _ = model_files.weights_repo(embedding, model_files.EMBEDDING_FILE)
        if repo_of_it is None:
            model_files.embedding_file(embedding, offline=True)
        else:
            _check_cached(repo_of_it, None, offline=offline, pull=SAME)
    _check_controlnets(config)
    check_image_prompts(config)


def _check_controlnets(config: Config) -> None:
    """Raise ModelError if a ControlNet, or a model that draws for one, is surely missing."""
    if config.controlnet and embedded(config.model) is not None:
        raise ModelError(no_controlnets(config.model))
    names = [name for name in config.controlnet if not name.startswith(RANDOM)]
    names += drawing_models(config)
    for name in names:
        repo, _ = model_names.split_file(name)
        _check_cached(repo, model_names.local_path(repo), offline=config.offline, pull=SAME)


def drawing_models(config: Config) -> list[str]:
    """Return the names of the models that draw what the ControlNets of `config` are shown."""
    inputs = {shown.preprocessor for shown in config.control_inputs.values()}
    return [getattr(config, setting) for kind, setting in MODEL_SETTINGS.items() if kind in inputs]


def no_controlnets(model: str) -> str:
    """Return the line that `model` has no ControlNets, with the remedy."""
    return (
        f"{model} has a U-Net of its own, for which there are no ControlNets; choose a model of"
        " SD 1.5, SD 2.1 or SDXL with --model, or leave --controlnet out"
    )


def check_video_models(config: Config) -> None:
    """Raise ModelError if the model or a LoRA of `config`, for video, is surely missing."""
    _check_loras(config.lora, offline=config.offline, pickled=True)
    name = config.model
    if name.startswith(RANDOM) or Path(name).expanduser().exists():
        return
    repo = "/".join(name.split("/")[:2])
    if not model_names.HUB_ID.fullmatch(repo):
        raise ModelError(
            f'no model "{name}": no file or folder here, nor a name on the hub (USER/REPO/FILE)'
        )
    _check_cached(repo, None, offline=config.offline, pull=SAME)


def _check_image_model(name: str, *, offline: bool) -> None:
    try:
        path = model_names.local_path(name)
    except ModelError as error:
        near = get_close_matches(name, [NANO, *aliases.MODELS], n=1, cutoff=0.5)
        hint = f'; did you mean "{near[0]}"?' if near else f"; {NANO} comes with streamcam"
        raise ModelError(f"{error}{hint}") from None
    if path is not None and path.is_dir():
        model_files.model_index(name, offline=True)
    _check_cached(name, path, offline=offline)


def _check_loras(loras: Iterable[str], *, offline: bool, pickled: bool) -> None:
    for lora in loras:
        repo, _ = model_files.weights_repo(lora, pickled=pickled)
        if repo is None:
            model_files.lora_file(lora, offline=True, pickled=pickled)
        else:
            _check_cached(repo, None, offline=offline, pull=SAME)


def _check_cached(repo: str, path: Path | None, *, offline: bool, pull: str | None = None) -> None:
    """Raise ModelError if `repo`, which is no path here, would have to be fetched offline."""
    if path is None and offline and not hub_cache.is_cached(repo):
        remedy = pull or f'"{hub.PULL} {repo}"'
        raise ModelError(
            f"no model {repo}: no folder here, not in the cache, and offline; fetch it once with"
            f" {remedy}"
        )
