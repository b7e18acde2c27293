"""Ways to run a stage: each maps a stage to a faster one, and the mathematics never knows."""

from collections.abc import Callable

from torch import nn

Accelerator = Callable[[nn.Module], nn.Module]


def accelerator(name: str) -> Accelerator:
    """Return the accelerator of that name."""
    return {"eager": eager, "compiled": compiled}[name]


def eager(stage: nn.Module) -> nn.Module:
    """Run the stage as it is written."""
    return stage


def compiled(stage: nn.Module) -> nn.Module:
    """Compile the stage with torch.compile for the one shape that a stream has."""
    stage.compile(dynamic=False)
    return stage
