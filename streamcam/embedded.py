"""What comes in the package: the embedded model, in the same layout as any other."""

from pathlib import Path

NANO = "nano"


def embedded(name: str) -> Path | None:
    """Return the folder of the model of that name if it is the one in the package."""
    return Path(__file__).parent / "models" / NANO if name == NANO else None
