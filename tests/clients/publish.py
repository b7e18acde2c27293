"""Publish the test pattern on the virtual camera through pyvirtualcam alone, until stopped."""

import time
from fractions import Fraction
from itertools import count

import pyvirtualcam

from streamcam.sources.generated import Pattern

WIDTH, HEIGHT, FPS = 1280, 720, 15

if __name__ == "__main__":
    pattern = Pattern(WIDTH, HEIGHT, Fraction(FPS), None)
    with pyvirtualcam.Camera(WIDTH, HEIGHT, FPS) as camera:
        print("publishing on", camera.device, flush=True)
        for index in count():
            began = time.monotonic()
            camera.send(pattern.image_at(index))
            time.sleep(max(0, 1 / FPS - (time.monotonic() - began)))
