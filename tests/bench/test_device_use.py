"""Launches of a frame and the GPU's share of its time, counted in profiles."""

import torch

from streamcam.bench.candidates import Candidate
from streamcam.bench.device_use import ProfiledEvent, busy_ns, count_launches, device_use


def called(name: str) -> ProfiledEvent:
    return ProfiledEvent(name, on_gpu=False, start_ns=0, duration_ns=9)


def worked(start_ns: int, duration_ns: int) -> ProfiledEvent:
    return ProfiledEvent("gemm", on_gpu=True, start_ns=start_ns, duration_ns=duration_ns)


def test_kernels_copies_and_graphs_are_launches_and_waiting_is_none() -> None:
    names = ["cudaLaunchKernel", "cuLaunchKernelEx", "cudaMemcpyAsync", "cudaGraphLaunch"]
    others = ["aten::mm", "cudaStreamSynchronize", "cudaEventRecord", "cudaGraphInstantiate"]
    assert count_launches([*map(called, names + others), worked(0, 1)]) == (4, 1)


def test_the_gpu_works_once_where_two_streams_overlap() -> None:
    events = [worked(40, 5), worked(0, 10), worked(5, 10), worked(6, 2), called("cudaLaunchKernel")]
    assert busy_ns(events) == 15 + 5


def test_a_cpu_has_operations_and_no_share_of_a_gpu() -> None:
    x = torch.ones(2)
    candidate = Candidate("two", lambda: (x + 1) * 2, 2, 1, torch.float32)
    use = device_use(candidate, torch.device("cpu"))
    assert (use.launches, use.graphs, use.busy, use.outside_graphs) == (1, 0, None, None)
