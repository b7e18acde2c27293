"""Process of a rank after the first: load its layers, then serve calls until the first stops."""

import json
import os
import sys

from torch._C._distributed_c10d import FileStore, Store

from streamcam.errors import EngineError, StreamcamError
from streamcam.settings.config import Config
from streamcam.system.child_process import end_with_parent, prefer_as_oom_victim
from streamcam.system.standard_streams import protect_output
from streamcam.video.parallel.layer_loading import load_layers
from streamcam.video.parallel.ranks import RankInfo
from streamcam.video.parallel.rendezvous import READY, open_transport, report_status
from streamcam.video.parallel.ring_rank import serve_calls
from streamcam.video.parallel.torchrun import (
    RoundWatch,
    is_over,
    join_round,
    torchrun_store,
    use_interface_of_store,
)

OOM_SCORE = 250
"""Of 1000: where memory runs out, the kernel ends this process and not the broadcast's."""


def main() -> None:
    """Serve as the rank that a line of standard input describes; never returns."""
    protect_output()
    request = json.loads(sys.stdin.readline())
    end_with_parent(sys.stdin.read, status=1)
    prefer_as_oom_victim(OOM_SCORE)
    info = RankInfo(*request["rank"])
    config = Config.model_validate(request["config"])
    live: bool = request["live"]
    try:
        if store_path := request["store_path"]:
            serve_rank(config, info, FileStore(store_path, info.world_size), live=live)
        else:
            _serve_torchrun_round(config, info, live=live)
    except StreamcamError as error:
        os._exit(error.exit_code)  # The first rank has the reason, and reports it.
    os._exit(0)  # Receives posted ahead that nothing came into would hold up a usual end.


def serve_rank(config: Config, info: RankInfo, store: Store, *, live: bool) -> None:
    """Load the layers of a rank, then serve calls until the first rank stops.

    Args:
        config: the same on all ranks.
        info: this rank, not the first.
        store: where the ranks meet.
        live: whether the number of steps may change.

    Raises:
        StreamcamError: the layers cannot be loaded, or the ring has broken.
    """
    try:
        loaded = load_layers(config, info, live=live)
    except StreamcamError as error:
        report_status(store, info.rank, str(error))
        raise
    report_status(store, info.rank, READY)
    serve_calls(loaded.model, open_transport(loaded.model, config, info, store), loaded.load)


def _serve_torchrun_round(config: Config, info: RankInfo, *, live: bool) -> None:
    def end(reason: str) -> None:
        _report(info, reason)
        os._exit(EngineError.exit_code)  # The main thread may wait for ever, in torch's own code.

    use_interface_of_store()
    watch = RoundWatch(torchrun_store, end)
    watch.start()
    store = torchrun_store()
    try:
        if joined := join_round(store, info.rank):
            watch.round = joined.number
            serve_rank(config, info, joined.store, live=live)
    except StreamcamError as error:
        if not is_over(store):
            _report(info, str(error))
            raise


def _report(info: RankInfo, reason: str) -> None:
    print(f"streamcam: rank {info.rank}: {reason}", file=sys.stderr, flush=True)
