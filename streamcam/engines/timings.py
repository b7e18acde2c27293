"""Which engine was the fastest when all were measured here: kept where engines are."""

from collections.abc import Mapping
from typing import Any

import torch

from streamcam.engines.cache_key import key_of
from streamcam.engines.device_info import about
from streamcam.engines.dtypes import name_of
from streamcam.engines.store import Store
from streamcam.version import __version__

Timings = Mapping[str, float]
"""Milliseconds a frame, by the engine's name."""


def timings_key_of(
    settings: Mapping[str, Any], device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """Return, readable, all that speeds depend on and that is known before a model is loaded."""
    return {
        "engine": "speeds",
        "settings": dict(settings),
        "dtype": name_of(dtype),
        "machine": dict(about(device)),
        "versions": {"streamcam": __version__, "torch": str(torch.__version__)},
    }


def load_timings(store: Store, cache_key: dict[str, Any]) -> Timings:
    """Return what was measured, empty where nothing was."""
    entry = store.find(key_of(cache_key))
    return {} if entry is None else entry.manifest.get("ms", {})


def save_timings(store: Store, cache_key: dict[str, Any], ms: Timings) -> None:
    """Keep what was measured for the next start.

    Raises:
        EngineError: the store cannot be written to.
    """
    rounded = {name: round(each, 2) for name, each in ms.items()}
    with store.making(key_of(cache_key), {"identity": cache_key, "ms": rounded}):
        pass
