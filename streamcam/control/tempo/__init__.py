"""Tempo: the beat clock and its sources, changes that wait for the beat, and modulators."""
