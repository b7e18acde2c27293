"""Shared memory that a process holds, while others on this machine have some of their own."""

from pathlib import Path


def shared_memory(pid: int) -> set[Path]:
    """Return the files of Python's own shared memory that process `pid` has mapped, on Linux."""
    maps = Path(f"/proc/{pid}/maps")
    if not maps.exists():
        return set()
    lines = maps.read_text().splitlines()
    return {Path(line.split()[5]) for line in lines if "/psm_" in line}
