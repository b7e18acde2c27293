"""Stage that colours each pixel of images by what it shows, as ControlNets are shown it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamcam.models.segmentation import PALETTE, SIDE, SegmentationModel

MULTIPLE = 32


class SegmentationMap(nn.Module):
    """Colour images ``(f, 3, H, W)`` in [-1, 1] by ADE20K's classes, as images in [0, 1]."""

    def __init__(self, segmentation: SegmentationModel, width: int, height: int) -> None:
        super().__init__()
        self.model = segmentation.model
        self.size = segmented_size(segmentation, width, height)
        self.mean: Tensor
        self.std: Tensor
        self.colours: Tensor
        for name, values in (("mean", segmentation.mean), ("std", segmentation.std)):
            channels = torch.tensor(values).reshape(1, 3, 1, 1)
            self.register_buffer(name, channels, persistent=False)
        levels = torch.tensor([*PALETTE]).reshape(-1, 3) / 255
        self.register_buffer("colours", levels, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        size = images.shape[-2:]
        small = F.interpolate(images, self.size, mode="bilinear", align_corners=False)
        pixels = ((small + 1) / 2 - self.mean) / self.std
        logits = self.model(pixel_values=pixels.to(self.model.dtype)).logits
        logits = F.interpolate(logits, self.size, mode="bilinear", align_corners=False)
        drawn = self.colours[logits.argmax(dim=1)].permute(0, 3, 1, 2)
        return F.interpolate(drawn, size, mode="nearest")

    def extra_repr(self) -> str:
        return f"size={self.size}"


def segmented_size(segmentation: SegmentationModel, width: int, height: int) -> tuple[int, int]:
    """Return the height and width that images of this size are segmented at."""
    if segmentation.side:
        return segmentation.side, segmentation.side
    shrink = min(1.0, SIDE / min(width, height))
    rows, columns = (max(1, round(side * shrink / MULTIPLE)) * MULTIPLE for side in (height, width))
    return rows, columns
