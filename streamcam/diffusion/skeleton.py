"""Draw a pose as OpenPose does, which pose ControlNets were trained with, on the device.

Limbs are ellipses and joints are circles: each is the set of pixels at which a quadratic form is
less than one, so that an image needs no drawing library and no value leaves the device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NECK = 1
FROM_COCO = (0, 0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""The joint of COCO that each of OpenPose's 18 is; its neck lies between COCO's shoulders."""
SHOULDERS = (5, 6)
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7)),
    *((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
"""The two joints that each limb joins, in the order that they are drawn in."""
COLOURS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)),
    *((0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)),
    *((0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
"""Of the joints; those of the limbs are the first 17, darker."""
LIMB_BRIGHTNESS = 0.6
RADIUS = 4
"""Of joints, and half the width of limbs, in pixels at a side of 512."""
CONFIDENCE = 0.3
"""Joints that are less certain are left out, and so are the limbs that they end."""


def openpose_joints(joints: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return OpenPose's joints ``(f, 18, 2)`` and their scores ``(f, 18)``, from COCO's 17."""
    left, right = SHOULDERS
    points = [joints[:, index] for index in FROM_COCO]
    certain = [scores[:, index] for index in FROM_COCO]
    points[NECK] = (joints[:, left] + joints[:, right]) / 2
    certain[NECK] = torch.minimum(scores[:, left], scores[:, right])
    return torch.stack(points, dim=1), torch.stack(certain, dim=1)


class Skeleton(nn.Module):
    """Draw the joints of one person in each frame as an image in [0, 1], on black."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.radius = RADIUS * max(0.5, min(width, height) / 512)
        limbs = torch.tensor(COLOURS[: len(LIMBS)]).float() * LIMB_BRIGHTNESS
        levels = torch.cat([torch.zeros(1, 3), limbs.floor(), torch.tensor(COLOURS).float()])
        self.colours: Tensor
        self.x: Tensor
        self.y: Tensor
        self.register_buffer("colours", levels / 255, persistent=False)
        x, y = torch.arange(width).float(), torch.arange(height).float()
        self.register_buffer("x", x.reshape(1, 1, width), persistent=False)
        self.register_buffer("y", y.reshape(1, height, 1), persistent=False)

    def forward(self, joints: Tensor, scores: Tensor) -> Tensor:
        """Return images ``(f, 3, H, W)``.

        Args:
            joints: ``(f, 18, 2)``, x and y in pixels.
            scores: how certain each is, ``(f, 18)``.
        """
        shapes = self._shapes(joints, scores)
        # The number of the shape that was drawn last at each pixel; 0 where there is none.
        top = torch.zeros_like(self.x + self.y, dtype=torch.int32).expand(len(joints), -1, -1)
        for number, shape in enumerate(shapes.unbind(1), start=1):
            across, down, offset, inside = (
                part[..., None] for part in torch.split(shape, 2, dim=1)
            )
            u = across[:, :1] * self.x + (down[:, :1] * self.y + offset[:, :1])
            v = across[:, 1:] * self.x + (down[:, 1:] * self.y + offset[:, 1:])
            top = torch.where(torch.addcmul(u * u, v, v) <= inside[:, :1], number, top)
        return F.embedding(top, self.colours).permute(0, 3, 1, 2).contiguous()

    def _shapes(self, joints: Tensor, scores: Tensor) -> Tensor:
        """Return the limbs, then the joints, as ``(f, 35, 8)``.

        A pixel (x, y) lies in a shape where |A (x, y) + b|^2 <= c: the two columns of A, b, and c,
        which is negative for what is left out.
        """
        first, second = _ends(joints)
        certain = scores >= CONFIDENCE
        whole = torch.minimum(*_ends(scores)) >= CONFIDENCE
        along = second - first
        length = along.norm(dim=-1, keepdim=True)
        unit = torch.where(length > 0, along / length.clamp(min=1e-6), torch.ones_like(along))
        half = (length / 2).clamp(min=1)
        across = torch.cat([unit[..., :1] / half, -unit[..., 1:] / self.radius], dim=-1)
        down = torch.cat([unit[..., 1:] / half, unit[..., :1] / self.radius], dim=-1)
        limbs = self._shape(across, down, (first + second) / 2, whole)
        scale = torch.full_like(joints[..., :1], 1 / self.radius)
        none = torch.zeros_like(scale)
        circles = self._shape(
            torch.cat([scale, none], dim=-1), torch.cat([none, scale], dim=-1), joints, certain
        )
        return torch.cat([limbs, circles], dim=1)

    def _shape(self, across: Tensor, down: Tensor, centre: Tensor, is_drawn: Tensor) -> Tensor:
        offset = -(across * centre[..., :1] + down * centre[..., 1:])
        inside = torch.where(is_drawn, 1.0, -1.0).unsqueeze(-1)
        return torch.cat([across, down, offset, inside, inside], dim=-1)


def _ends(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return those of the first and the second joint of each limb, along dimension 1."""
    # Not by a list of indices, which would be copied to the device in every call.
    first, second = (
        torch.stack([values[:, i] for i in side], dim=1) for side in zip(*LIMBS, strict=True)
    )
    return first, second
