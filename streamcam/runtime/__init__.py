"""What moves frames: offline, and live."""
