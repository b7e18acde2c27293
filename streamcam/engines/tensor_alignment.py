"""Inputs of native engines: contiguous, and in memory that begins where their kernels expect it."""

from torch import Tensor

ALIGNMENTS = {"cuda": 256}
"""Bytes by the type of a device: what TensorRT asks for and CUDA's allocations have; torch's
compiler asks for 16. Kernels of a CPU read numbers from wherever they are."""


def aligned(tensor: Tensor) -> Tensor:
    """Return `tensor`, copied unless it is contiguous and begins at a multiple of the alignment.

    A row of a tensor, or one number of several, lies anywhere: TensorRT may refuse it, and what
    torch's compiler has made copies it with a warning in each call.
    """
    tensor = tensor.contiguous()
    is_aligned = tensor.data_ptr() % ALIGNMENTS.get(tensor.device.type, 1) == 0
    return tensor if is_aligned else tensor.clone()
