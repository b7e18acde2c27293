"""Read the picture that says where the region of the person is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamcam.errors import ModelError, StreamcamError, one_line
from streamcam.sources.image_reader import read


def region_picture(name: str) -> NDArray[np.uint8]:
    """Return the grey levels ``(H, W)`` of the picture `name`.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    path = Path(name).expanduser()
    remedy = 'name an image with --set region_mask=FILE, or choose "person" or "off"'
    if not path.is_file():
        raise ModelError(f'no picture "{name}" for region_mask; {remedy}')
    try:
        image = read(path)
    except (StreamcamError, OSError, ValueError) as error:
        raise ModelError(f'region_mask "{name}": {one_line(error)}; {remedy}') from None
    # The levels of all three channels, as a mask is grey.
    levels: NDArray[np.uint8] = image.mean(axis=2).round().astype(np.uint8)
    return levels
