"""Names of dtypes in settings, and the dtypes that they stand for."""

import torch

FLOAT8 = torch.float8_e4m3fn
INT8 = torch.int8
_NAMES = {FLOAT8: "float8"}


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a dtype: torch's own, or ``float8`` for E4M3."""
    return _NAMES.get(dtype) or str(dtype).removeprefix("torch.")


def dtype_of(name: str) -> torch.dtype:
    """Return the dtype of that name."""
    known = {name: dtype for dtype, name in _NAMES.items()}
    dtype: torch.dtype = known.get(name) or getattr(torch, name)
    return dtype
