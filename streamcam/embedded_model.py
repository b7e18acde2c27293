"""The model inside the package, which has the same layout as any other: its path and looks."""

from pathlib import Path

NANO = "nano"
LOOKS = (
    *("pencil", "ink", "neon", "emboss", "cartoon", "comic", "oil", "watercolour", "pixel art"),
    *("halftone", "thermal", "x-ray", "negative", "night vision", "black and white", "sepia"),
    *("tint", "duotone", "pop art", "posterised", "golden hour", "frosty", "cyberpunk"),
)
"""Names of the looks that it knows, each of which is a prompt."""


def embedded(name: str) -> Path | None:
    """Return the folder of the model `name` if it is the one in the package, else None."""
    return Path(__file__).parent / "models" / NANO if name == NANO else None
