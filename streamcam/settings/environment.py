"""Environment variables that settings depend on, read here and nowhere else."""

import os
from itertools import takewhile
from typing import NamedTuple


class Launch(NamedTuple):
    """The place of this process among those that torchrun started."""

    rank: int
    ranks: int
    local: int
    """Rank among those on this machine."""


def torchrun_launch() -> Launch | None:
    """Return the place that torchrun gave this process; None without torchrun, or alone."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    values = [os.environ.get(name, "") for name in names]
    if "MASTER_ADDR" not in os.environ or not all(value.isdecimal() for value in values):
        return None
    launch = Launch(*map(int, values))
    return launch if launch.ranks > 1 else None


def visible_gpus() -> list[str] | None:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves to torch; None where it is not set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return None
    # Those after an invalid one do not count.
    return list(takewhile(lambda name: name not in ("", "-1"), map(str.strip, visible.split(","))))


def web_token() -> str | None:
    """Return the token for the page that ``STREAMCAM_WEB_TOKEN`` holds; None where it is empty."""
    return os.environ.get("STREAMCAM_WEB_TOKEN") or None


def engine_token() -> str | None:
    """Return the token for an engine elsewhere in ``STREAMCAM_ENGINE_TOKEN``; None where empty."""
    return os.environ.get("STREAMCAM_ENGINE_TOKEN") or None


def engine_store() -> str | None:
    """Return the URL of shared engines in ``STREAMCAM_ENGINE_STORE``; None where it is empty."""
    return os.environ.get("STREAMCAM_ENGINE_STORE") or None


def hub_is_offline() -> bool:
    """Return whether ``HF_HUB_OFFLINE``, the variable of huggingface_hub, forbids downloads."""
    return os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE")


def obs_password() -> str:
    """Return the password of OBS's WebSocket server in ``STREAMCAM_OBS_PASSWORD``, if any."""
    return os.environ.get("STREAMCAM_OBS_PASSWORD", "")
