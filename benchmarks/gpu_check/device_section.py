"""Facts of the machine: the card, its own rate, and the time that a launch takes."""

import time
from collections.abc import Iterator

import torch

from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import Reading, Record
from streamcam.bench.harness import machine, matrix_rate, synchronize
from streamcam.cli.bench_options import hardware
from streamcam.engines.placement import pick_device, pick_dtype
from streamcam.version import __version__

LAUNCHES = 1000


def device(check: CheckSettings, engine: str) -> Iterator[Record]:  # noqa: ARG001
    """Yield the facts, and the rates that everything else is compared with."""
    config = check.config()
    where = pick_device("auto")
    dtype = pick_dtype("auto", where)
    facts = {name: str(value) for name, value in (hardware() | machine(config)).items()}
    yield Reading("machine", facts | {"streamcam": __version__} | _card(where))
    rates: dict[str, float | str] = {"TFLOP/s": matrix_rate(where, dtype) / 1e12}
    yield Reading("its own rates", rates | {"us a launch": 1e6 * _launch_s(where)})


def _card(where: torch.device) -> dict[str, str]:
    if where.type != "cuda":
        return {}
    card = torch.cuda.get_device_properties(where)
    return {
        "GiB": f"{card.total_memory / 2**30:.1f}",
        "compute capability": f"{card.major}.{card.minor}",
        "cuda": str(torch.version.cuda or torch.version.hip),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def _launch_s(where: torch.device) -> float:
    x = torch.zeros(8, device=where)
    x.add_(1)
    synchronize(where)
    started_at = time.perf_counter()
    for _ in range(LAUNCHES):
        x.add_(1)
    synchronize(where)
    return (time.perf_counter() - started_at) / LAUNCHES
