"""Check that the models named in the settings exist, without torch, the hub, or reading weights."""

from difflib import get_close_matches
from pathlib import Path

from streamcam.embedded_model import NANO
from streamcam.errors import ModelError
from streamcam.models import hub
from streamcam.models.families import RANDOM
from streamcam.models.ip_adapter_files import check_image_prompts
from streamcam.settings.config import Config

FULL = "full"


def check_image_models(config: Config) -> None:
    """Raise ModelError if the model, or what `config` adds to it, is surely missing.

    What the hub alone can answer is asked when the model loads.
    """
    offline = config.offline
    if not config.model.startswith(RANDOM):
        _check_image_model(config.model, offline=offline)
    if config.vae not in (None, FULL):
        _check_cached(config.vae, hub.local_path(config.vae), offline=offline)
    for lora in config.lora:
        is_file = lora.endswith(".safetensors") and lora.count("/") == 2
        repo = lora.rpartition("/")[0] if is_file and not Path(lora).exists() else lora
        path = hub.local_path(repo)
        if path is not None:
            hub.lora_file(lora, offline=True)
        _check_cached(repo, path, offline=offline)
    check_image_prompts(config)


def check_video_models(config: Config) -> None:
    """Raise ModelError if the model of `config`, for the video pipeline, is surely missing."""
    name = config.model
    if name.startswith(RANDOM) or Path(name).expanduser().exists():
        return
    repo = "/".join(name.split("/")[:2])
    if not hub.HUB_ID.fullmatch(repo):
        raise ModelError(
            f'no model "{name}": no file or folder here, nor a name on the hub (USER/REPO/FILE)'
        )
    _check_cached(repo, None, offline=config.offline)


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


def _check_cached(repo: str, path: Path | None, *, offline: bool) -> None:
    """Raise ModelError if `repo`, which is no path here, would have to be fetched offline."""
    if path is None and offline and not hub.is_cached(repo):
        raise ModelError(
            f"no model {repo}: no folder here, not in the cache, and offline; fetch it once with"
            f' "{hub.PULL} {repo}"'
        )
