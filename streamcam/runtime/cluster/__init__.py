"""Engines on a Ray cluster: Ray places and restarts them, frames travel without it."""
