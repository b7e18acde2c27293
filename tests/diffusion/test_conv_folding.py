"""Folded convolutions give the same images, to the last pixel, with less work."""

import pytest
import torch
from diffusers import AutoencoderTiny
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from streamcam.diffusion.conv_folding import FoldedConvolutions, fold


def conv(
    in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = True, size: int = 3
) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, size, stride, size // 2, bias=bias)


RUNS = {
    "encoder": [conv(3, 16), conv(16, 16, stride=2, bias=False), conv(16, 16, stride=2)],
    "decoder": [nn.Upsample(scale_factor=2), conv(16, 16, bias=False), conv(16, 3)],
    "two of one size": [conv(3, 32), conv(32, 3)],
    "three of one size": [conv(2, 32), conv(32, 32), conv(32, 2)],
    "large kernels": [conv(3, 32, size=5), conv(32, 3, stride=2, size=5)],
    "stride first": [conv(3, 16, stride=2), conv(16, 16)],
    "upsampling by three": [nn.Upsample(scale_factor=3), conv(8, 32), conv(32, 3)],
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80), (24, 24), (4, 8)])
@torch.inference_mode()
def test_a_folded_run_gives_the_same_image_including_its_border(
    name: str, height: int, width: int
) -> None:
    torch.manual_seed(0)
    run = nn.Sequential(*RUNS[name])
    images = torch.randn(2, next(run.parameters()).shape[1], height, width)
    assert torch.allclose(fold(run)(images), run(images), atol=2e-5)


def flops(layers: nn.Module, images: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        layers(images)
    return counter.get_total_flops()


@torch.inference_mode()
def test_folding_an_autoencoder_without_blocks_at_full_size_saves_work() -> None:
    vae = AutoencoderTiny(
        encoder_block_out_channels=(32,) * 4,
        decoder_block_out_channels=(32,) * 4,
        num_encoder_blocks=(0, 0, 2, 2),
        num_decoder_blocks=(2, 2, 1, 0),
    )
    for part, images in (
        (vae.encoder.layers, torch.randn(1, 3, 256, 256)),
        (vae.decoder.layers, torch.randn(1, 4, 32, 32)),
    ):
        folded = fold(part)
        assert torch.allclose(folded(images), part(images), atol=2e-5)
        assert flops(folded, images) < 0.65 * flops(part, images)


def test_layers_that_cannot_be_folded_or_would_not_be_faster_stay_unchanged() -> None:
    for layers in (
        [conv(3, 8), nn.ReLU(), conv(8, 3)],
        [conv(32, 2), conv(2, 32)],
        [nn.Upsample(scale_factor=2), conv(8, 8)],
        [nn.Upsample(scale_factor=2, mode="bilinear"), conv(8, 32)],
        [conv(4, 8), nn.Conv2d(8, 8, 3, padding=1, groups=8)],
    ):
        run = nn.Sequential(*layers)
        assert list(fold(run)) == layers
        assert not any(isinstance(layer, FoldedConvolutions) for layer in fold(run))
