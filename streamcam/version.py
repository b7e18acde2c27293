"""The version of streamcam, read by the build and kept with every engine."""

__version__ = "0.1.0"
