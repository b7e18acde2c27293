"""What ``streamcam doctor`` looks at. Each check is a function of what it is shown."""

from dataclasses import dataclass

OK, NOTE, WARNING, MISSING = "ok", "note", "warning", "missing"
"""Fine; worth knowing; works, but could be better; needed, and not there or not working."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one look found."""

    name: str
    """What was looked at."""
    state: str
    """`OK`, `NOTE`, `WARNING` or `MISSING`."""
    text: str
    """What was found, in a line."""
    remedy: str | None = None
    """What to do about it."""
