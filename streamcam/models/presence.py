"""Check that the models named in the settings exist, without torch, the hub, or reading weights."""

from difflib import get_close_matches
from pathlib import Path

from streamcam.embedded_model import NANO
from streamcam.errors import ModelError
from streamcam.models import hub
from streamcam.models.families import RANDOM
from streamcam.models.region_picture import region_picture
from streamcam.settings.config import Config

FULL = "full"
REGION_WORDS = ("off", "person")
"""Values of ``region_mask`` that name no picture."""


def check_image_models(config: Config) -> None:
    """Raise ModelError if the model, the autoencoder, a LoRA or an embedding is surely missing.

    What the hub alone can answer is asked when the model loads.
    """
    offline = config.offline
    if config.region_mask not in REGION_WORDS:
        region_picture(config.region_mask)
    if not config.model.startswith(RANDOM):
        _check_image_model(config.model, offline=offline)
    if config.vae not in (None, FULL):
        _check_cached(config.vae, hub.local_path(config.vae), offline=offline)
    if config.unet is not None:
        repo, file = hub.split_file(config.unet, hub.WEIGHT_SUFFIXES)
        if not file:
            hub.unet_file(config.unet, offline=True)
        _check_cached(repo, None if file else Path(config.unet), offline=offline)
    _check_loras(config, pickled=False)
    for embedding in config.embedding:
        repo_of_it, _ = hub.weights_repo(embedding, hub.EMBEDDING_FILE)
        if repo_of_it is None:
            hub.embedding_file(embedding, offline=True)
        else:
            _check_cached(repo_of_it, None, offline=offline)


def check_video_models(config: Config) -> None:
    """Raise ModelError if the model or a LoRA of `config`, for video, is surely missing."""
    _check_loras(config, pickled=True)
    name = config.model
    if name.startswith(RANDOM) or Path(name).expanduser().exists():
        return
    repo = "/".join(name.split("/")[:2])
    if not hub.HUB_ID.fullmatch(repo):
        raise ModelError(
            f'no model "{name}": no file or folder here, nor a name on the hub (USER/REPO/FILE)'
        )
    _check_cached(repo, None, offline=config.offline, pull=hub.PULL_SAME_SETTINGS)


def _check_image_model(name: str, *, offline: bool) -> None:
    try:
        path = hub.local_path(name)
    except ModelError as error:
        near = get_close_matches(name, [NANO], cutoff=0.5)
        hint = f'; did you mean "{NANO}"?' if near else f"; {NANO} comes with streamcam"
        raise ModelError(f"{error}{hint}") from None
    if path is not None and path.is_dir():
        hub.model_index(name, offline=True)
    _check_cached(name, path, offline=offline)


def _check_loras(config: Config, *, pickled: bool) -> None:
    loras = [*config.lora]
    if config.use_lcm_lora and config.lcm_lora_id:
        loras.append(config.lcm_lora_id)
    for lora in loras:
        repo, _ = hub.weights_repo(lora, pickled=pickled)
        if repo is None:
            hub.lora_file(lora, offline=True, pickled=pickled)
        else:
            _check_cached(repo, None, offline=config.offline, pull=hub.PULL_SAME_SETTINGS)


def _check_cached(repo: str, path: Path | None, *, offline: bool, pull: str | None = None) -> None:
    """Raise ModelError if `repo`, which is no path here, would have to be fetched offline."""
    if path is None and offline and not hub.is_cached(repo):
        remedy = pull or f'"{hub.PULL} {repo}"'
        raise ModelError(
            f"no model {repo}: no folder here, not in the cache, and offline; fetch it once with"
            f" {remedy}"
        )
