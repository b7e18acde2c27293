"""A stream over two hosts goes on when one is lost, and again with it once it is back.

The hosts are network namespaces. It takes minutes: ``make test-hosts``.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from benchmarks.network_hosts import unavailable
from benchmarks.video_hosts import HostsOnAir, hosts_on_air, kill, loss, unplug

pytestmark = pytest.mark.skipif(
    "STREAMCAM_TEST_HOSTS" not in os.environ, reason="takes minutes: make test-hosts"
)


@pytest.fixture(scope="module")
def on_air() -> Iterator[HostsOnAir]:
    if why := unavailable():
        pytest.skip(why)
    with hosts_on_air() as on_air:
        yield on_air


@pytest.mark.parametrize(("lose", "seconds"), [(kill, 2.0), (unplug, 30.0)])
def test_a_lost_host_is_noticed_and_its_return_too_while_the_output_goes_on(
    on_air: HostsOnAir, lose: Callable[[HostsOnAir, float], float], seconds: float
) -> None:
    figures = loss(on_air, lose, seconds)
    assert figures["lowest_fps_out"] > 10
    # One broadcast, which was never off air.
    assert sum("on air after" in line["message"] for line in on_air.log()) == 1
