"""Image diffusion as a Stream (StreamDiffusion, arXiv 2312.12491)."""
