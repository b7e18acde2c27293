"""Sources of frames: cameras, network streams, files and generated pictures.

`streamcam.sources.source_table` opens one by its name and imports it only then.
"""
