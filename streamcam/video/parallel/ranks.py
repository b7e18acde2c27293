"""Rank of this process among those that share a model, and the device that belongs to it."""

from typing import NamedTuple

import torch

from streamcam.errors import ConfigError
from streamcam.settings.config import Config
from streamcam.settings.environment import torchrun_launch
from streamcam.video.parallel.partition import Partition, even


class RankInfo(NamedTuple):
    """Rank of this process, and how many there are, in torch's terms."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Rank among the processes on this machine."""

    by_torchrun: bool = False
    """Whether torchrun starts all ranks; else the first rank starts the rest."""

    def partition(self, layers: int) -> Partition:
        """Return the partition of that many layers that all ranks begin with.

        Raises:
            ConfigError: there are more ranks than layers.
        """
        return even(layers, self.world_size)

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def last(self) -> bool:
        return self.rank == self.world_size - 1


def rank_info(config: Config) -> RankInfo:
    """Return the rank of a process that runs the stream, or that torchrun started.

    Raises:
        ConfigError: torchrun started another number of processes than ``devices`` says.
    """
    devices = config.video.devices
    if (launch := torchrun_launch()) is None:
        return RankInfo(0, devices)
    if devices not in (1, launch.ranks):
        raise ConfigError(
            f"torchrun has started {launch.ranks} processes, but devices={devices}: leave it out"
        )
    return RankInfo(*launch, by_torchrun=True)


def rank_device(device: torch.device, info: RankInfo) -> torch.device:
    """Return the device of a rank: the next GPU for each rank; all ranks share one CPU.

    Args:
        device: of the first rank on this machine.
        info: the rank.

    Raises:
        ConfigError: there are too few devices.
    """
    if device.type == "cpu" or info.world_size == 1:
        return device
    available = torch.cuda.device_count() if device.type == "cuda" else 1
    index = (device.index or 0) + info.local_rank
    if index >= available:
        raise ConfigError(
            f"rank {info.rank} of {info.world_size} needs {device.type}:{index}, but there are"
            f" {available} here: share the layers among fewer devices"
        )
    return torch.device(device.type, index)
