"""The cores that a process may run on."""

import os

import pytest

from streamcam.system.cores import available_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux can restrict them")
def test_a_process_that_is_kept_to_one_core_counts_one() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert available_cores() == len(allowed)
