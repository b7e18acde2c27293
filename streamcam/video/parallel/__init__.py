"""The transformer of a video model shared out over several GPUs (StreamDiffusionV2, section 4)."""
