"""Engines: each runs a stage faster than it is written, and the mathematics never knows."""
