"""Segmentation of people: MediaPipe's selfie model, a MobileNetV3 with a small decoder.

Its weights come with streamcam (``models/selfie/README.md`` says where they are from). The
network is fully convolutional, so it takes any image whose sides are multiples of 16.
"""

from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).parent / "selfie" / "selfie_segmentation.safetensors"
MULTIPLE = 16


class Block(NamedTuple):
    """One inverted residual block of MobileNetV3."""

    inputs: int
    hidden: int
    outputs: int
    kernel: int
    stride: int
    squeezed: int
    """Channels inside squeeze and excitation; 0 without."""
    activation: type[nn.Module]


BLOCKS = (
    Block(16, 16, 16, 3, 2, 8, nn.ReLU),
    Block(16, 72, 24, 3, 2, 0, nn.ReLU),
    Block(24, 88, 24, 3, 1, 0, nn.ReLU),
    Block(24, 96, 32, 5, 2, 24, nn.Hardswish),
    Block(32, 128, 32, 5, 1, 32, nn.Hardswish),
    Block(32, 128, 32, 5, 1, 32, nn.Hardswish),
    Block(32, 96, 32, 5, 1, 24, nn.Hardswish),
    Block(32, 96, 32, 5, 1, 24, nn.Hardswish),
)
SKIPS = (0, 2)
"""Blocks whose outputs the decoder adds, besides the stem's."""


class Convolution(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, for even sides."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        total = kernel - stride if kernel > 1 else 0
        before, after = total // 2, total - total // 2
        self._pads = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, self._pads) if any(self._pads) else x)


def depthwise(channels: int, kernel: int, stride: int = 1) -> Convolution:
    """Return a convolution of each channel by itself."""
    return Convolution(channels, channels, kernel, stride, groups=channels)


class Excitation(nn.Module):
    """Squeeze and excitation: factors of the channels, from their means ``(f, C, 1, 1)``."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = Convolution(channels, squeezed)
        self.widen = Convolution(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        means: Tensor = self.squeeze(x.mean((2, 3), keepdim=True))
        factors: Tensor = self.widen(means.relu())
        return factors.sigmoid()


class InvertedResidual(nn.Module):
    """Widen, convolve each channel, weigh the channels, narrow again."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.widen = Convolution(block.inputs, block.hidden)
        self.convolve = depthwise(block.hidden, block.kernel, block.stride)
        self.excite = Excitation(block.hidden, block.squeezed) if block.squeezed else None
        self.narrow = Convolution(block.hidden, block.outputs)
        self.activation = block.activation()
        self.adds = block.stride == 1 and block.inputs == block.outputs

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.activation(self.convolve(self.activation(self.widen(x))))
        if self.excite is not None:
            hidden = hidden * self.excite(hidden)
        narrow: Tensor = self.narrow(hidden)
        return narrow + x if self.adds else narrow


class Up(nn.Module):
    """Double the size, and add what the encoder had at that size."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.narrow = Convolution(inputs, channels)
        self.excite = Excitation(channels, channels)
        self.mix = Convolution(channels, channels)
        self.convolve = depthwise(channels, 3)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        doubled = functional.interpolate(x, scale_factor=2.0, mode="bilinear")
        doubled = self.narrow(doubled)
        mixed = self.mix(skip * self.excite(skip + doubled) + doubled).relu()
        result: Tensor = mixed + self.convolve(mixed).relu()
        return result


class PersonMask(nn.Module):
    """Images ``(f, 3, H, W)`` in [0, 1], of sides divisible by 16, to masks ``(f, 1, H, W)``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 16, 3, 2)
        self.blocks = nn.ModuleList(map(InvertedResidual, BLOCKS))
        self.context = Convolution(32, 128)
        self.gate = Convolution(32, 128)
        self.up = nn.ModuleList([Up(128, 24), Up(24, 16), Up(16, 16)])
        self.out = nn.ConvTranspose2d(16, 1, 2, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.hardswish(self.stem(images))
        skips = [x]
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in SKIPS:
                skips.append(x)
        x = self.context(x).relu() * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(x, skip)
        result: Tensor = self.out(x).sigmoid()
        return result


def load_person_mask() -> PersonMask:
    """Return the network with the weights that come with streamcam."""
    network = PersonMask()
    network.load_state_dict({name: t.float() for name, t in load_file(WEIGHTS).items()})
    return network.eval().requires_grad_(False)


def input_size(width: int, height: int, area: int = 256 * 192) -> tuple[int, int]:
    """Return the (width, height) near `area` pixels that suits images of this shape."""
    scale = (area / (width * height)) ** 0.5
    width, height = (
        max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (width, height)
    )
    return width, height
