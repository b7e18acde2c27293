"""What comes in the package: the embedded model, in the same layout as any other."""

from pathlib import Path

NANO = "nano"


def embedded(name: str) -> Path | None:
    """Return the folder of the model of that name that comes in the package, if there is one."""
    folder = Path(__file__).parent / name
    return folder if name == NANO and folder.is_dir() else None
