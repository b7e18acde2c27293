"""Frames on their way to the device and back: tensors, sizes, pixel formats and copies."""
