"""Check, before anything is on air, what the engine process would fail on after minutes."""

from streamcam.engines.requirements import (
    check_engine,
    check_float8,
    check_int8,
    float8_engine,
)
from streamcam.engines.shared_engines import shared_engines
from streamcam.engines.store import Store
from streamcam.errors import ConfigError
from streamcam.pipelines import pipeline_of
from streamcam.runtime.auto_settings import PASSTHROUGH
from streamcam.runtime.device_presence import (
    device_kind,
    is_certain,
    is_supported,
    torch_backends,
)
from streamcam.runtime.engine_worker import IDENTITY
from streamcam.settings.config import Config


def check_startup(config: Config) -> None:
    """Raise now what loading the model of `config` would surely fail with.

    Raises:
        ConfigError: there is no such device here.
        EngineError: the acceleration asked for cannot run here.
        ModelError: the model, its autoencoder or a LoRA is missing.
        StreamcamError: no home folder is known to keep engines in.
    """
    if config.model in (PASSTHROUGH, IDENTITY) or config.broadcast.engine:
        return
    pipeline = pipeline_of(config)
    pipeline.check(config)
    # OpenVINO finds Intel GPUs by itself, where torch may not.
    if config.acceleration != "openvino":
        _check_device(config.device)
    if pipeline.build_engines is None:
        return
    kind = device_kind(config.device)
    if kind == "cuda" and "hip" in torch_backends():
        kind = "rocm"
    if config.dtype == "float8":
        check_float8(config.acceleration)
        check_engine(float8_engine(config.acceleration), kind)
    if config.dtype == "int8":
        check_int8(config.acceleration, kind)
    check_engine(config.acceleration, kind)
    if config.acceleration != "eager":
        Store(config.engine_dir)
        shared_engines(config.engine_store, lambda _line: None)


def _check_device(device: str) -> None:
    if is_certain(device):
        return
    if not is_supported(device):
        raise ConfigError(
            f"no device {device} here: the installed torch is not built for it; choose --device"
            " cpu, or install another build: https://pytorch.org/get-started/locally/"
        )
    # Only torch knows; importing it takes seconds, mostly to fail.
    from streamcam.engines.placement import pick_device

    pick_device(device)
