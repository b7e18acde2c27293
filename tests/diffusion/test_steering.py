import torch
from torch import nn

from streamcam.diffusion.stages import Condition, Denoise
from streamcam.diffusion.steering import LayerInputs, Steering, unpacked


class Unet(nn.Module):
    """Adds the first scale, and leaves the mean of each row."""

    dtype = torch.float32

    class config:
        time_cond_proj_dim = None

    def __init__(self, inputs: LayerInputs) -> None:
        super().__init__()
        self.inputs = inputs

    def forward(self, x_t: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor]:
        scales = self.inputs.steering.lora_scales
        if scales is None:
            return (x_t,)
        self.inputs.outputs.append(x_t.mean((1, 2, 3)).unsqueeze(1))
        return (x_t + scales[0],)


def denoise() -> Denoise:
    inputs = LayerInputs()
    return Denoise(Unet(inputs), "epsilon", torch.linspace(0.99, 0.01, 1000), inputs)


CALL = (
    torch.arange(32.0).reshape(2, 4, 2, 2),
    torch.tensor([100, 200]),
    Condition(torch.zeros(2, 1, 1), None, None),
)


def test_layers_read_the_steering_of_their_call_alone() -> None:
    stage = denoise()
    noise, left = unpacked(stage(*CALL, Steering(torch.tensor([3.0]))), CALL[0].shape)
    assert torch.equal(noise, CALL[0] + 3)
    assert left.tolist() == [[7.5], [23.5]]
    assert torch.equal(stage(*CALL), CALL[0])
    assert torch.equal(stage(*CALL, Steering()), CALL[0])


def test_steering_is_an_input_of_a_traced_stage() -> None:
    stage = denoise()

    def flat(x_t: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = stage(x_t, *CALL[1:], Steering(scales))
        return result

    traced = torch.jit.trace(  # type: ignore[no-untyped-call]
        flat, (CALL[0], torch.tensor([1.0]))
    )
    assert torch.equal(traced(CALL[0], torch.tensor([5.0])), flat(CALL[0], torch.tensor([5.0])))
