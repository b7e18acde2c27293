"""Checks of ``streamcam doctor``, as pure functions of what was found on the machine."""

from dataclasses import dataclass

OK, NOTE, WARNING, MISSING = "ok", "note", "warning", "missing"
"""Fine; worth knowing; works, but could be better; needed, and missing or not working."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check."""

    name: str
    """Name of the thing that was checked."""
    state: str
    """`OK`, `NOTE`, `WARNING` or `MISSING`."""
    text: str
    """Finding, in one line."""
    remedy: str | None = None
    """Command or advice that fixes it."""
