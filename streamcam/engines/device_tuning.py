"""Settings of torch's libraries that make kernels fast on a GPU, for this whole process."""

import torch


def tune(device: torch.device, dtype: torch.dtype) -> None:
    """Set what torch's libraries do on `device` before anything runs on it.

    They must not change later: recorded graphs keep the kernels that were chosen once.

    Args:
        device: where the models run.
        dtype: what they compute in.
    """
    if device.type != "cuda":
        return
    # The shapes never change, so timing cuDNN's kernels in the first call pays for ever.
    torch.backends.cudnn.benchmark = True
    if dtype != torch.float32:
        # What is float32 in a model of another dtype is so for its range, which TF32 has as well.
        torch.set_float32_matmul_precision("high")
