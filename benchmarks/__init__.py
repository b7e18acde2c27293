"""Targets that a release is held to, measured from a checkout; not in the wheel."""
