"""Pipeline parallelism: a video transformer over several GPUs (StreamDiffusionV2, section 4)."""
