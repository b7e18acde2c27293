"""Draw the figure of docs/regions.md: ``python docs/regions.py``.

It needs scikit-image, whose photograph it shows.
"""

from pathlib import Path

import cv2
import numpy as np

import streamcam
from streamcam.types import Frame
from training.photographs import photographs

FILE = Path(__file__).parent / "images" / "regions.jpg"
PROMPTS = ("blue neon edges on black", "pencil sketch", "thermal")
STRENGTHS = ((None, None), (0.1, 1.0), (0.5, 1.0), (1.0, 0.1))
"""Of the person and of the background."""


def main() -> None:
    """Write the figure."""
    image = photographs()["astronaut"]
    height, width = image.shape[:2]
    stream = streamcam.open_stream(
        model="nano", width=width, height=height, region_mask="person", offline=True
    )
    rows = []
    for prompt in PROMPTS:
        row = []
        for person, background in STRENGTHS:
            stream.update(prompt=prompt, strength_person=person, strength_background=background)
            [output] = stream(Frame(image, 0, 0.0))
            row.append(output.image)
        rows.append(np.hstack(row))
    sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(FILE), sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
