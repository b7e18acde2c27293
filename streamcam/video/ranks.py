"""The devices of a video stream: processes that meet, each with its share of the layers.

The first rank is the process that runs the stream. It starts the others, one for each further
device, and they end when it does, however it ends.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist

from streamcam.config import Config
from streamcam.errors import ConfigError, EngineError, StreamcamError
from streamcam.video.distributed import Link, Ring, follow, payload_bytes
from streamcam.video.partition import even
from streamcam.video.wan import CausalWan

SCRIPT = "from streamcam.video.ranks import serve; serve()"
MEET_S = 600.0
"""For all ranks to have loaded their layers."""
LEAVE_S = 5.0


class Share(NamedTuple):
    """Which of how many ranks this is."""

    rank: int = 0
    ranks: int = 1

    def layers(self, count: int) -> range:
        """Return those of `count` layers that this rank has.

        Raises:
            ConfigError: there are more ranks than layers.
        """
        return even(count, self.ranks)[self.rank]

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def last(self) -> bool:
        return self.rank == self.ranks - 1


def device_of(device: torch.device, share: Share) -> torch.device:
    """Return the device of a rank: the next one of its kind for each; processors are shared.

    Raises:
        ConfigError: there are too few.
    """
    if device.type == "cpu":
        return device
    found = torch.cuda.device_count() if device.type == "cuda" else 1
    index = (device.index or 0) + share.rank
    if share.ranks > 1 and (device.index or 0) + share.ranks > found:
        raise ConfigError(
            f"devices={share.ranks} needs as many GPUs from {device} on: {found} here"
        )
    return torch.device(device.type, index) if share.ranks > 1 else device


class Followers:
    """The processes of the ranks after the first, loading until `meet`."""

    def __init__(self, config: Config) -> None:
        self._ranks = config.video.devices
        self._folder = tempfile.TemporaryDirectory(prefix="streamcam-ranks-")
        self._meeting = Path(self._folder.name) / "meeting"
        found = os.pathsep.join(path for path in sys.path if path)
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-P", "-c", SCRIPT],
                env=os.environ | {"PYTHONPATH": found},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the first rank, which ends the others.
            )
            for _ in range(1, self._ranks)
        ]
        for rank, process in enumerate(self._processes, 1):
            assert process.stdin is not None
            orders = {"rank": rank, "config": config.model_dump(mode="json")}
            # It stays open: the other process ends when this one is gone.
            process.stdin.write(f"{json.dumps(orders | {'meeting': str(self._meeting)})}\n")
            process.stdin.flush()

    def meet(self, model: CausalWan, config: Config) -> Ring:
        """Wait until all have loaded their layers, and return the ring of them.

        Raises:
            EngineError: one of them cannot, and why.
        """
        for rank, process in enumerate(self._processes, 1):
            assert process.stdout is not None
            said = process.stdout.readline().strip()
            if said != "ready":
                raise EngineError(f"device {rank} of the pipeline failed: {said or 'it has died'}")
        ring = Ring(model, _joined(model, config, Share(0, self._ranks), self._meeting))
        atexit.register(self._leave, ring)
        return ring

    def _leave(self, ring: Ring) -> None:
        """Let the others end, by themselves or by force."""
        with suppress(EngineError):  # Where it is broken, there is nobody to tell.
            ring.stop()
        for process in self._processes:
            try:
                process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        dist.destroy_process_group()
        self._folder.cleanup()


def serve() -> None:
    """Be one of the ranks after the first, as a line of standard input says; never returns."""
    from streamcam.video.models import load_layers

    orders = json.loads(sys.stdin.readline())
    threading.Thread(target=_die_with_leader, daemon=True).start()
    try:
        config = Config.model_validate(orders["config"])
        share = Share(orders["rank"], config.video.devices)
        model = load_layers(config, share)
        print("ready", flush=True)
        follow(model, _joined(model, config, share, Path(orders["meeting"])))
    except StreamcamError as error:
        print(error, flush=True)
        os._exit(error.exit_code)
    os._exit(0)  # Offers of memory that nothing came into would hold up a usual end.


def _die_with_leader() -> None:
    sys.stdin.read()
    os._exit(1)


def _joined(model: CausalWan, config: Config, share: Share, meeting: Path) -> Link:
    """Meet the other ranks, and return this one's ends of the ring."""
    backend = "nccl" if model.device.type == "cuda" else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(model.device)
    dist.init_process_group(
        backend,
        f"file://{meeting}",
        rank=share.rank,
        world_size=share.ranks,
        timeout=timedelta(seconds=MEET_S),
    )
    video = config.video
    # A new prompt sends all that a row of the cache holds in one call.
    frames = max(video.kv_frames, video.chunk_latents, video.max_chunk_latents)
    text_dim = model.transformer.config.text_dim
    return Link(model.device, payload_bytes(model, config.num_steps, frames, text_dim))
