"""Sinks for frames: virtual camera, preview page, recorder and files.

`streamcam.sinks.sink_table` opens one by its name and imports it only then.
"""
