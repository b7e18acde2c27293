"""Frames on their way to the device and back: tensors, sizes, pixel formats and copies."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from streamcam.frames.transfer import FrameTransfer
    from streamcam.settings.config import Config


def frame_transfer(
    config: "Config", device: "torch.device", *, on_air: bool = False
) -> "FrameTransfer":
    """Return the path for `device`.

    `on_air` a device gives pictures as the broadcast wants them, else at the model's size.
    """
    if device.type != "cuda":
        from streamcam.frames.cpu_transfer import CpuTransfer

        return CpuTransfer(config, device)
    from streamcam.frames.copy_streams import CudaCopyStreams
    from streamcam.frames.cuda_transfer import CudaTransfer, output_format

    return CudaTransfer(
        config, device, CudaCopyStreams(device), output_format(config, on_air=on_air)
    )
