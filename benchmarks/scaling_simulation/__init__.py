"""Simulate a day of streams on a cluster: placement, failures, and starting and stopping nodes."""
