"""streamcam: streaming diffusion between your camera and a virtual camera."""

from streamcam.version import __version__

__all__ = ["__version__"]
