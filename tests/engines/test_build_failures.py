"""A failure of a build is one line that says what to do."""

import errno
import os

import pytest
import torch

from streamcam.engines.build_failures import explained, explained_status


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "smaller"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "close other"),
        (MemoryError(), "close other"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "engine_dir="),
        (RuntimeError("C++ compile error\nfatal error: x.o: No space left on device"), "is full"),
        (ValueError("no kernel\nfor Det\nand more"), "no kernel for Det"),
    ],
)
def test_the_reason_is_one_line_with_the_remedy(error: BaseException, words: str) -> None:
    line = explained(error)
    assert words in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-9, "killed, as the system does where memory runs out"),
        (-11, "crashed (SIGSEGV)"),
        (-77, "crashed (signal 77)"),
        (3, "ended with status 3"),
    ],
)
def test_the_end_of_the_process_is_explained(status: int, words: str) -> None:
    assert words in explained_status(status)
