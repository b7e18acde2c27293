"""Video diffusion: a causal transformer that keeps a picture steady (arXiv 2511.07399)."""
