"""Video diffusion by a causal transformer with a rolling KV cache (arXiv 2511.07399)."""
