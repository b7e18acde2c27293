"""Frames as tensors: transfer to and from the device, sizes and pixel formats."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from streamcam.frames.transfer import FrameTransfer
    from streamcam.settings.config import Config


def frame_transfer(
    config: "Config", device: "torch.device", *, on_air: bool = False
) -> "FrameTransfer":
    """Return the transfer of frames to and from `device`.

    `on_air` a GPU returns images on the canvas and in the pixel format of the broadcast, otherwise
    at the model's size.
    """
    if device.type != "cuda":
        from streamcam.frames.cpu_transfer import CpuTransfer

        return CpuTransfer(config, device)
    from streamcam.frames.copy_streams import CudaCopyStreams
    from streamcam.frames.cuda_transfer import CudaTransfer, output_format

    return CudaTransfer(
        config, device, CudaCopyStreams(device), output_format(config, on_air=on_air)
    )
