"""Measured times of the engines on this machine, stored next to them."""

from collections.abc import Mapping
from typing import Any

import torch

from streamcam.engines.cache_key import hash_key
from streamcam.engines.device_info import device_fingerprint
from streamcam.engines.dtypes import name_of
from streamcam.engines.store import Store
from streamcam.version import __version__

Timings = Mapping[str, float]
"""Milliseconds a frame, by the engine's name."""


def timings_cache_key(
    settings: Mapping[str, Any], device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """Return, readable, all that times depend on and that is known before a model is loaded."""
    return {
        "engine": "speeds",
        "settings": dict(settings),
        "dtype": name_of(dtype),
        "machine": dict(device_fingerprint(device)),
        "versions": {"streamcam": __version__, "torch": str(torch.__version__)},
    }


def load_timings(store: Store, cache_key: dict[str, Any]) -> Timings:
    """Return the stored times, empty where nothing was measured."""
    entry = store.find(hash_key(cache_key))
    return {} if entry is None else entry.manifest.get("ms", {})


def save_timings(store: Store, cache_key: dict[str, Any], ms: Timings) -> None:
    """Store the times of the engines for the next start.

    Raises:
        EngineError: the store cannot be written to.
    """
    rounded = {name: round(each, 2) for name, each in ms.items()}
    with store.create(hash_key(cache_key), {"identity": cache_key, "ms": rounded}):
        pass
