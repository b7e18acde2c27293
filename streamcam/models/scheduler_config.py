"""Scheduler configs for models of which they do not say all: the prediction and the last SNR."""

from typing import Any


def predicting(described: Any, kind: str | None, *, zero_snr: bool | None) -> Any:
    """Return a scheduler as `described`, for a model of another prediction.

    Args:
        described: the scheduler that the model's config names.
        kind: as in a scheduler's ``prediction_type``; None leaves it as it is.
        zero_snr: whether betas are rescaled to zero terminal SNR; None leaves that as it is.
    """
    from diffusers import DDIMScheduler

    changes: dict[str, Any] = {} if kind is None else {"prediction_type": kind}
    if zero_snr is None:
        return type(described).from_config(described.config, **changes)
    changes["rescale_betas_zero_snr"] = zero_snr
    if zero_snr:
        changes["timestep_spacing"] = "trailing"
    # Not every scheduler knows rescaled betas; the stream has one of its own anyway.
    return DDIMScheduler.from_config(described.config, **changes)
