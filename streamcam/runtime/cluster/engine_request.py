"""Settings that a performer asks an engine for, checked where they come from and where they arrive.

Models go by their ids on the hub or by the names that streamcam has for them. No setting that is
sent names a file, a folder, a device, a plugin or a command of the cluster's machines.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from streamcam.embedded_model import NANO
from streamcam.errors import ConfigError
from streamcam.pipelines import pipeline_of
from streamcam.runtime.engine_worker import IDENTITY
from streamcam.runtime.model_size import with_shape_of_source
from streamcam.runtime.remote.shared_settings import for_clients
from streamcam.settings.config import ACCELERATIONS, CAMERA, OFF, PARTS, Config
from streamcam.settings.config_layers import build_config, with_model
from streamcam.settings.control_inputs import ALIASES, PREPROCESSORS
from streamcam.settings.model_settings import AUTO
from streamcam.settings.video_settings import VideoSettings
from streamcam.version import __version__

LOCAL = ("device", "engine_dir", "engine_store", "engine_wait", "threads", "offline")
"""Settings of each machine, which are not sent."""
MODELS = (
    *("model", "unet", "vae", "lora", "ip_adapter", "image_encoder", "lcm_lora_id", "embedding"),
    *("controlnet", "depth_model", "single_file_config", "video_base", "taehv"),
)
"""Settings that name models."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w-][\w.-]*){1,6}")
BUILT_IN = re.compile(rf"{NANO}|{IDENTITY}|full|random:[\w.-]{{1,40}}")
IMAGE_MODEL = "stabilityai/sd-turbo"
"""Model for images without a camera, which nano cannot make."""
MAX_REQUEST = 100_000
"""Characters of a request."""
MOST_GPUS, LEAST_CPUS, MOST_CPUS, MOST_STREAMS = 16, 0.05, 256, 16


class EngineRequest(NamedTuple):
    """An engine that a performer asks for."""

    config: Config
    """Settings of the engine, as its node runs them."""
    key: str
    """Hash of all that engines must have in common to be the same to a performer."""
    gpus: float | None
    """GPUs that it takes; None for one if the cluster has any."""
    cpus: float
    streams: int
    """Streams that may share it."""


def request_text(config: Config) -> str:
    """Return what is sent to a cluster for the engine of `config`.

    Raises:
        ConfigError: a setting names something that is on this machine only.
    """
    if config.model == AUTO:
        default = IMAGE_MODEL if config.mode == "txt2img" else NANO
        config = with_model(config, pipeline_of(config).default_model or default)
    # The source is here, so its shape is settled here.
    config, _ = with_shape_of_source(config)
    names = sorted(config.model_fields_set - {*PARTS, *LOCAL})
    settings = {name: getattr(config, name) for name in names}
    settings |= {n: getattr(config.video, n) for n in sorted(config.video.model_fields_set)}
    # The rest of the snapshot comes with the frames.
    settings |= {
        **{name: getattr(config, name) for name in ("width", "height")},
        **{"model": config.model, "steps": config.num_steps, "shape": "fixed", "grow_to": 0},
        "num_inference_steps": config.live.num_inference_steps,
    }
    settings = json.loads(json.dumps(settings, default=str))
    _check_settings(settings)
    broadcast = config.broadcast
    content = {
        "version": __version__,
        "settings": settings,
        "gpus": broadcast.engine_gpus,
        "cpus": broadcast.engine_cpus,
        "streams": broadcast.engine_streams,
    }
    return json.dumps(content, sort_keys=True)


def parse_request(text: str) -> EngineRequest:
    """Return the engine that `text` asks for.

    Raises:
        StreamcamError: it asks for what no performer may ask for, or makes no sense.
    """
    try:
        if len(text) > MAX_REQUEST:
            raise ValueError("it is too long")
        content = json.loads(text)
        version, settings = str(content["version"]), dict(content["settings"])
        gpus = None if content["gpus"] is None else float(content["gpus"])
        cpus, streams = float(content["cpus"]), int(content["streams"])
        # One that took nothing could be asked for without end.
        if not (0 <= (gpus or 0) <= MOST_GPUS and LEAST_CPUS <= cpus <= MOST_CPUS):
            raise ValueError("an engine takes up to 16 GPUs and 0.05 to 256 CPUs")
        if not 1 <= streams <= MOST_STREAMS:
            raise ValueError("an engine is shared by 1 to 16 streams")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"a request for an engine makes no sense: {error!s:.200}") from None
    if version != __version__:
        raise ConfigError(
            f"the cluster runs streamcam {__version__}, this is {version:.20}: install the same"
            " version on all machines"
        )
    _check_settings(settings)
    config = build_config([settings])
    common = json.dumps([settings, gpus, cpus, streams], sort_keys=True)
    key = hashlib.sha256(common.encode()).hexdigest()[:16]
    return EngineRequest(for_clients(config), key, gpus, cpus, streams)


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings that name what is on one machine only."""
    known = {*Config.model_fields, *VideoSettings.model_fields, "num_inference_steps"}
    for name, value in settings.items():
        if name in (*PARTS, *LOCAL) or name not in known:
            raise ConfigError(f'a cluster takes no setting "{name:.40}"')
        for text in _texts(name, value):
            if not _may_be_sent(name, text):
                raise ConfigError(f"{name} {text!r:.100} cannot go to a cluster: {_remedy(name)}")


def _may_be_sent(name: str, text: str) -> bool:
    if name in MODELS:
        return bool(BUILT_IN.fullmatch(text) or (HUB_ID.fullmatch(text) and ".." not in text))
    match name:
        case "image_prompt":
            return text == CAMERA
        case "control":
            return text in (*PREPROCESSORS, *ALIASES)
        case "region_mask":
            return text in (OFF, "people")
        case "acceleration":
            return text in ACCELERATIONS
    return True  # A word of a choice, which the settings themselves check.


def _remedy(name: str) -> str:
    if name in MODELS:
        return "name a model by its id on the hub, nano or random:NAME; files stay where they are"
    if name == "acceleration":
        return "plugins stay on the machine that they are installed on"
    return "it names a file or a source, which stay where they are"


def _texts(name: str, value: Any) -> Iterable[str]:
    """Yield the names in the value of a setting: those that could be those of files."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        # Inputs by the names of ControlNets; all others are numbers and words by files.
        yield from map(str, value.values() if name == "control" else value)


def with_request(config: Config) -> Config:
    """Return the performer's `config` with the settings of the engine that it asks for.

    Raises:
        ConfigError: the cluster would refuse them.
    """
    text = request_text(config)
    parse_request(text)
    parts = (config, config.broadcast, config.video, config.live)
    given = {n: getattr(part, n) for part in parts for n in part.model_fields_set if n not in PARTS}
    # The device is that of what is left to do on this machine.
    return build_config([given, json.loads(text)["settings"], {"device": "cpu"}])
