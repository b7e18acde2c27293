"""Benchmarks of the product: image and video streams, engines, the broadcast, energy."""
