"""Stage that draws the depth of images as ControlNets are shown it: near is white."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamcam.models.depth import SIDE, DepthModel


class DepthMap(nn.Module):
    """Draw the depth of images ``(f, 3, H, W)`` in [-1, 1] as images in [0, 1].

    Each image spans all levels, as in the training of ControlNets.
    """

    def __init__(self, depth: DepthModel, width: int, height: int) -> None:
        super().__init__()
        self.model = depth.model
        self.is_distance = depth.is_distance
        self.size = estimated_size(depth, width, height)
        self.mean: Tensor
        self.std: Tensor
        for name, values in (("mean", depth.mean), ("std", depth.std)):
            channels = torch.tensor(values).reshape(1, 3, 1, 1)
            self.register_buffer(name, channels, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        size = images.shape[-2:]
        small = F.interpolate(images, self.size, mode="bilinear", align_corners=False)
        pixels = ((small + 1) / 2 - self.mean) / self.std
        depth = self.model(pixel_values=pixels.to(self.model.dtype)).predicted_depth.float()
        nearness = -depth if self.is_distance else depth
        least, most = (end(nearness, dim=(1, 2), keepdim=True) for end in (torch.amin, torch.amax))
        levels = (nearness - least) / (most - least).clamp(min=1e-6)
        drawn = F.interpolate(levels.unsqueeze(1), size, mode="bilinear", align_corners=False)
        return drawn.expand(-1, 3, -1, -1).contiguous()

    def extra_repr(self) -> str:
        return f"size={self.size}"


def estimated_size(depth: DepthModel, width: int, height: int) -> tuple[int, int]:
    """Return the height and width that depth is estimated at, for images of this size."""
    shrink = min(1.0, SIDE / min(width, height))
    sides = (SIDE, SIDE) if depth.is_square else (height * shrink, width * shrink)
    rows, columns = (max(1, round(side / depth.patch)) * depth.patch for side in sides)
    return rows, columns
