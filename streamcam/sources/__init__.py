"""Sources of frames: cameras, network streams, files and generated images.

`streamcam.sources.source_table` opens one by its name and imports it only then.
"""
