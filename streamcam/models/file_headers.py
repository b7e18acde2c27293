"""Read the small parts of a model's files, without torch: settings, and headers of weights."""

import json
import os
from pathlib import Path
from typing import Any

from streamcam.system.regular_file import read_regular

MAX_JSON_BYTES = 64 * 1024**2
"""Vocabularies, the largest of such files, take 20 MB."""
LENGTH_BYTES = 8
"""Of the number at the beginning of a ``.safetensors`` file: the length of its header."""
MAX_HEADER_BYTES = 100 * 1024**2


def read_json(file: Path) -> dict[str, Any]:
    """Return the table in a small JSON file.

    Raises:
        OSError: it is no file, or too large.
        ValueError: it is damaged, or holds no table.
    """
    try:
        table = json.loads(read_regular(file, MAX_JSON_BYTES))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(table, dict):
        raise ValueError(f"{file} holds no table")
    return table


def header_of(file: Path) -> dict[str, Any]:
    """Return the entry of each tensor in the header of a ``.safetensors`` file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or cut off.
    """
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(LENGTH_BYTES), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"the header of {file} is damaged")
        header = json.loads(opened.read(length))
        size = os.fstat(opened.fileno()).st_size
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    if size < LENGTH_BYTES + length + end:
        raise ValueError(f"{file} is cut off")
    return tensors
