"""Failures of a build, each in one line with the remedy."""

import errno
import signal
import sys

from streamcam.errors import one_line

ON_CPU_MEMORY = ("can't allocate memory", "cannot allocate memory", "not enough memory")
"""Parts of what torch and compilers say where the computer's memory is over."""
NO_SPACE = "no space left on device"
ELSEWHERE = 'build it while nothing else runs, with "streamcam engines build"'


def explained(error: BaseException) -> str:
    """Return in one line why a build failed, and what to do where that is known."""
    text = str(error).lower()
    torch = sys.modules.get("torch")  # Without it nothing of the kind was raised.
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return (
            "the memory of the GPU is not enough; close other programs that use it, choose a"
            f" smaller --width and --height, or {ELSEWHERE}"
        )
    if isinstance(error, MemoryError) or any(words in text for words in ON_CPU_MEMORY):
        return f"the memory of this computer is not enough; close other programs, or {ELSEWHERE}"
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or NO_SPACE in text:
        return (
            "the disk is full; remove what is not needed, such as old engines with"
            ' "streamcam engines remove", or choose another folder with --set engine_dir=…'
        )
    return one_line(error)


def explained_status(status: int) -> str:
    """Return in one line how the process that builds engines ended, by its exit status."""
    if status >= 0:
        return f"the process that builds engines ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        return (
            "the process that builds engines was killed, as the system does where memory runs out;"
            f" close other programs, or {ELSEWHERE}"
        )
    return (
        f"the process that builds engines crashed ({name}); to see what it does, run"
        ' "streamcam engines build" with the same settings'
    )
