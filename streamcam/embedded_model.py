"""Path of the model inside the package, which has the same layout as any other."""

from pathlib import Path

NANO = "nano"


def embedded(name: str) -> Path | None:
    """Return the folder of the model `name` if it is the one in the package, else None."""
    return Path(__file__).parent / "models" / NANO if name == NANO else None
