"""MIDI: controllers change parameters, and show what other clients change."""
