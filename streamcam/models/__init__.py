"""Checkpoints found, fetched, read and checked: diffusers pipelines, LoRAs and autoencoders."""
