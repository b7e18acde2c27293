"""Video diffusion: a causal transformer whose KV cache keeps the output steady (arXiv 2511.07399)."""
