"""Video diffusion: a causal transformer whose KV cache keeps frames steady (arXiv 2511.07399)."""
