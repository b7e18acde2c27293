"""Models with random weights: made where they run, and the same each time."""

import torch
from torch import nn

from streamcam.models.random_models import random_pipeline


def test_a_gpu_makes_the_weights_in_their_dtype_and_the_schedule_stays_on_the_cpu() -> None:
    # A device without memory stands for it: nothing can be made elsewhere and copied there.
    pipe = random_pipeline("sd-turbo", dtype=torch.float16, device=torch.device("meta"))
    modules = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    weights = [weight for module in modules for weight in module.parameters()]
    assert sum(weight.numel() for weight in pipe.unet.parameters()) > 8e8
    assert {(weight.device.type, weight.dtype) for weight in weights} == {("meta", torch.float16)}
    betas = pipe.scheduler.betas
    assert (betas.device.type, betas.dtype) == ("cpu", torch.float32)
    assert torch.get_default_dtype() == torch.float32


def test_weights_are_the_same_each_time_and_others_draws_go_on_undisturbed() -> None:
    torch.manual_seed(3)
    first, drawn = random_pipeline("tiny-sd-turbo"), torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(2), drawn)
    second = random_pipeline("tiny-sd-turbo", dtype=torch.float16)
    for a, b in zip(first.unet.parameters(), second.unet.parameters(), strict=True):
        assert torch.equal(a.half(), b)
