"""Settings of torch's libraries that make kernels fast on an NVIDIA GPU, for the whole process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from streamcam.engines.device_info import is_nvidia_gpu

TIMED_KERNELS = 4
"""Of cuDNN's kernels for a convolution, the first ones that it proposes are timed: each takes time
to build, at every start."""


def tune(device: torch.device, dtype: torch.dtype) -> None:
    """Set what torch's libraries do on `device` before anything runs on it.

    They must not change later: recorded graphs keep the kernels that were chosen once.

    Args:
        device: where the models run.
        dtype: what they compute in.
    """
    if not is_nvidia_gpu(device):
        return
    # The shapes never change, so timing kernels in the first call pays off.
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.benchmark_limit = TIMED_KERNELS
    if dtype != torch.float32:
        # What is float32 in a model of another dtype is so for its range, which TF32 has as well.
        torch.set_float32_matmul_precision("high")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute in float32 without TF32, as a reference must."""
    matmul, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolutions
