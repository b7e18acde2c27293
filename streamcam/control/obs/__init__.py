"""OBS Studio, over obs-websocket: audio that follows the latency, scenes that recall presets."""
