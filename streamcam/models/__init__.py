"""Find, download, load and check models: diffusers pipelines, LoRAs and autoencoders."""
