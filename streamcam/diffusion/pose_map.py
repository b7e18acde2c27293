"""Stage that draws the pose of the person in images, as ControlNets are shown it.

As ViTPose was trained, it looks at a box around one person. Joints are read from its heat maps as
in DARK and UDP (arXiv 1910.06278 and 1911.07524): the maximum, moved to the peak of the Gaussian
that the logarithms around it give.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamcam.diffusion.regions import Segment
from streamcam.diffusion.skeleton import Skeleton, openpose_joints
from streamcam.models.person_mask import input_size, load_person_mask
from streamcam.models.pose import PoseModel

PADDING = 1.25
"""The box is larger than the person by this factor, as in the training of ViTPose."""
IS_PERSON = 0.5
SPECK = 0.02
"""Share of a row or column of the image that a person covers at least; less is an error."""
SIGMA, REACH = 0.8, 5
"""Standard deviation and radius, in cells, of the blur that heat maps get."""
LEAST, MOST = 1e-3, 50.0
COCO_DATA = 0
"""Index of that data set in models that were trained with several (ViTPose+)."""


class PoseMap(nn.Module):
    """Draw the pose of one person in images ``(f, 3, H, W)`` in [-1, 1] as images in [0, 1]."""

    def __init__(self, pose: PoseModel, width: int, height: int) -> None:
        super().__init__()
        size = (width, height)
        self.model = pose.model
        self.size = pose.size
        person = load_person_mask().to(pose.model.dtype)
        self.segment = Segment(person, size, input_size(*size))
        self.skeleton = Skeleton(width, height)
        self.mean: Tensor
        self.std: Tensor
        self.blur: Tensor
        for name, values in (("mean", pose.mean), ("std", pose.std)):
            channels = torch.tensor(values).reshape(1, 3, 1, 1)
            self.register_buffer(name, channels, persistent=False)
        self.register_buffer("blur", _gaussian(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        boxes = padded(person_boxes(self.segment(images), images.shape), self.size)
        joints, scores = self.joints(self.crops(images, boxes), boxes)
        drawn: Tensor = self.skeleton(*openpose_joints(joints, scores))
        return drawn

    def crops(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Return what the model is given: the box of each image, black outside of the image."""
        height, width = images.shape[-2:]
        rows, columns = self.size
        across = torch.linspace(-0.5, 0.5, columns, device=images.device)
        down = torch.linspace(-0.5, 0.5, rows, device=images.device)
        centre, extent = boxes[:, None, :2], boxes[:, None, 2:]
        x = (centre + extent * across[None, :, None])[..., 0] * (2 / (width - 1)) - 1
        y = (centre + extent * down[None, :, None])[..., 1] * (2 / (height - 1)) - 1
        grid = torch.stack(
            [x.unsqueeze(1).expand(-1, rows, -1), y.unsqueeze(2).expand(-1, -1, columns)], dim=-1
        )
        return F.grid_sample((images.float() + 1) / 2, grid, align_corners=True)

    def joints(self, crops: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return COCO's joints ``(f, 17, 2)`` in pixels of the images, and their scores."""
        pixels = ((crops - self.mean) / self.std).to(self.model.dtype)
        data = torch.full((len(crops),), COCO_DATA, dtype=torch.long, device=crops.device)
        maps = self.model(pixel_values=pixels, dataset_index=data).heatmaps.float()
        cells, scores = self.peaks(maps)
        rows, columns = maps.shape[-2:]
        x, y = cells[..., 0] / (columns - 1), cells[..., 1] / (rows - 1)
        shares = torch.stack([x, y], dim=-1) - 0.5
        return boxes[:, None, :2] + shares * boxes[:, None, 2:], scores

    def peaks(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the peaks ``(f, n, 2)`` of heat maps ``(f, n, h, w)`` in cells, and how high."""
        columns = maps.shape[-1]
        scores, index = maps.flatten(2).max(dim=2)
        cells = torch.stack([index % columns, index // columns], dim=-1)
        logs = self._blurred(maps).clamp(LEAST, MOST).log()
        around = F.pad(logs, (1, 1, 1, 1), mode="replicate").flatten(2)
        stride = columns + 2
        centre = (cells[..., 1] + 1) * stride + cells[..., 0] + 1

        def at(x: int, y: int) -> Tensor:
            return around.gather(2, (centre + y * stride + x).unsqueeze(2)).squeeze(2)

        middle, left, right, above, below = at(0, 0), at(-1, 0), at(1, 0), at(0, -1), at(0, 1)
        dx, dy = (right - left) / 2, (below - above) / 2
        eps = torch.finfo(torch.float32).eps
        dxx, dyy = left - 2 * middle + right + eps, above - 2 * middle + below + eps
        dxy = (at(1, 1) - right - below + 2 * middle - left - above + at(-1, -1)) / 2
        determinant = dxx * dyy - dxy * dxy
        # Where a map is flat there is no peak to move to.
        steep = determinant.abs() > eps
        divisor = torch.where(steep, determinant, torch.ones_like(determinant))
        move = torch.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], dim=-1)
        # The peak lies within a cell of the maximum; more is noise.
        moves = (torch.where(steep, 1 / divisor, 0.0).unsqueeze(-1) * move).clamp(-1, 1)
        return cells - moves, scores

    def _blurred(self, maps: Tensor) -> Tensor:
        flat = maps.flatten(0, 1).unsqueeze(1)
        pads = (REACH, REACH)
        flat = F.conv2d(_mirrored(flat, (*pads, 0, 0)), self.blur.reshape(1, 1, 1, -1))
        flat = F.conv2d(_mirrored(flat, (0, 0, *pads)), self.blur.reshape(1, 1, -1, 1))
        return flat.reshape(maps.shape)

    def extra_repr(self) -> str:
        return f"size={self.size}"


def person_boxes(masks: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return boxes ``(f, 4)`` around what `masks` show: centre, width and height in pixels.

    Where nobody is found it is the whole image.

    Args:
        masks: ``(f, 1, h, w)`` in [0, 1].
        shape: of the images, ``(f, 3, H, W)``.
    """
    person = (masks[:, 0] > IS_PERSON).float()
    height, width = shape[-2:]
    left, right = _ends(person.mean(dim=1) > SPECK, width)
    top, bottom = _ends(person.mean(dim=2) > SPECK, height)
    found = (right > left) & (bottom > top)
    left, right = torch.where(found, left, 0.0), torch.where(found, right, float(width))
    top, bottom = torch.where(found, top, 0.0), torch.where(found, bottom, float(height))
    return torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], dim=1)


def _ends(covered: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return where `covered` ``(f, n)`` begins and ends, of a side of `length`."""
    count = covered.shape[1]
    edges = torch.arange(count, device=covered.device).float()
    first = torch.where(covered, edges, float(count)).amin(dim=1)
    last = torch.where(covered, edges + 1, 0.0).amax(dim=1)
    return first * (length / count), last * (length / count)


def padded(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return `boxes` with a margin, and of the shape of the model's images of `size`."""
    rows, columns = size
    centre, width, height = boxes[:, :2], boxes[:, 2], boxes[:, 3]
    wide = torch.maximum(width, height * (columns / rows)) * PADDING
    return torch.cat([centre, wide[:, None], wide[:, None] * (rows / columns)], dim=1)


def _gaussian() -> Tensor:
    levels = torch.exp(-(torch.arange(-REACH, REACH + 1.0) ** 2) / (2 * SIGMA**2))
    return levels / levels.sum()


def _mirrored(maps: Tensor, pads: tuple[int, int, int, int]) -> Tensor:
    """Pad `maps` with their own mirror image, the border cells twice."""
    for dim, (before, after) in ((3, pads[:2]), (2, pads[2:])):
        if before or after:
            length = maps.shape[dim]
            head = maps.narrow(dim, 0, before).flip(dim)
            tail = maps.narrow(dim, length - after, after).flip(dim)
            maps = torch.cat([head, maps, tail], dim=dim)
    return maps
