"""streamcam: streaming diffusion between your camera and a virtual camera."""

__version__ = "0.1.0"
