"""Choose the schedule and the sampler that a model was made for."""

from typing import Any

from torch import Tensor

from streamcam.diffusion.schedule import MIN_ALPHA_CUMPROD, Sampling
from streamcam.errors import ConfigError
from streamcam.models.families import Report, is_few_step
from streamcam.models.few_step import Recognised, few_step_model
from streamcam.settings.config import Config
from streamcam.settings.model_settings import AUTO


def sampling_of(pipe: Any, config: Config, alphas_cumprod: Tensor, report: Report) -> Sampling:
    """Return the schedule and the sampler that `config` says, or that `pipe` was made for.

    Raises:
        ConfigError: a timestep is none of the model's.
    """
    adds_lora = config.use_lcm_lora
    if adds_lora is None:
        adds_lora = not is_few_step(pipe)
    known = few_step_model(config, lcm_lora=adds_lora)
    sampler: str = config.sampler
    spacing: str = config.timestep_spacing
    if sampler == AUTO and type(pipe.scheduler).__name__ == "TCDScheduler":
        sampler = "tcd"
    if sampler == AUTO:
        sampler = known.kind.sampler if known else "lcm"
    if spacing == AUTO:
        spacing = known.kind.spacing if known else "lcm"
    if config.timesteps and config.timesteps[0] >= len(alphas_cumprod):
        raise ConfigError(
            f"timesteps begins with {config.timesteps[0]}, but {config.model} was trained on"
            f" {len(alphas_cumprod)}, the last of which is {len(alphas_cumprod) - 1}"
        )
    if known:
        _report_steps(known, config, report)
    return Sampling(spacing, config.timesteps, sampler, _predicts_velocity(pipe, alphas_cumprod))


def _predicts_velocity(pipe: Any, alphas_cumprod: Tensor) -> bool:
    """Return whether x_0 is to follow from v: eps would lose it in noise, or is not predicted."""
    prediction = pipe.scheduler.config.prediction_type
    ends_in_noise = bool(alphas_cumprod[-1] <= MIN_ALPHA_CUMPROD)
    return prediction == "sample" or (prediction == "v_prediction" and ends_in_noise)


def _report_steps(known: Recognised, config: Config, report: Report) -> None:
    count, timesteps = config.live.num_inference_steps, known.kind.timesteps
    if timesteps and config.timesteps != timesteps:
        wanted = ",".join(map(str, timesteps))
        report(f"{known}; for the timestep that it knows, --set timesteps={wanted}")
    elif known.steps is not None and known.steps != count:
        report(
            f"{known}; with num_inference_steps={count} it runs at other timesteps than its own"
            f" (--set num_inference_steps={known.steps} for those)"
        )
