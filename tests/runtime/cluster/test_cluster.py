"""Engines on a real Ray cluster: a head without room for any, and two nodes on this machine."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from streamcam.errors import ConfigError, EngineError
from streamcam.runtime.cluster import pool_client
from streamcam.runtime.cluster.engine_request import request_text
from streamcam.runtime.cluster.pool_client import THIS_MACHINE, ask_pool, check_cluster
from streamcam.runtime.engine_elsewhere import with_engine_elsewhere
from streamcam.runtime.engine_process import LOST, RUNNING, EngineProcess
from streamcam.runtime.engine_worker import IDENTITY
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame

SIZE = {"width": 64, "height": 48}
MEMORY = 80_000_000
"""Bytes of each node's object store, which holds nothing here."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Yield a cluster whose nodes have room for two engines each."""
    utils = pytest.importorskip("ray.cluster_utils", reason='needs the extra "cluster"')
    options = {"object_store_memory": MEMORY}
    head = {"num_cpus": 0, "include_dashboard": False, **options}
    cluster = utils.Cluster(initialize_head=True, head_node_args=head)
    before = os.environ.get("RAY_ADDRESS")
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, **options)
        os.environ["RAY_ADDRESS"] = cluster.address
        yield cluster
        ask_pool(THIS_MACHINE, "stop")
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        if before is not None:
            os.environ["RAY_ADDRESS"] = before
        cluster.shutdown()


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def on_cluster(**settings: Any) -> Config:
    given = {"model": IDENTITY, "engine": THIS_MACHINE, **SIZE, **settings}
    return with_engine_elsewhere(build_config([given]))


def answered(engine: EngineProcess, config: Config, index: int) -> Frame:
    image = np.full((48, 64, 3), index, np.uint8)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        engine.offer(Frame(image, index, 100.0), config.live)
        time.sleep(0.03)
        if outputs := [output for output in engine.outputs() if output.index == index]:
            return outputs[-1]
    raise AssertionError("no output came")


def test_a_stream_goes_on_at_another_node_when_its_own_is_lost(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = on_cluster()
    failures: list[object] = []
    engine = EngineProcess(config, failures.append)
    engine.start()
    try:
        wait_for(lambda: engine.state == RUNNING or failures)
        assert not failures
        assert abs(float(answered(engine, config, 40).image.mean()) - 40) < 3

        def places() -> Any:
            return ask_pool(THIS_MACHINE, "status")["places"]

        def is_spare_ready() -> bool:
            return [p["state"] for p in places()] == ["running"] * 2

        wait_for(is_spare_ready)
        own, spare = sorted(places(), key=lambda place: not place["streams"])
        assert own["node"] != spare["node"]
        assert not spare["streams"]

        node = next(n for n in cluster.worker_nodes if n.node_id == own["node"])
        cluster.remove_node(node, allow_graceful=False)
        wait_for(lambda: engine.state == LOST)
        wait_for(lambda: engine.state == RUNNING)
        assert answered(engine, config, 90).image.mean() == pytest.approx(90, abs=2)
        # Ray was not asked: it would not have known so far.
        assert caplog.text.count("asking the cluster") == 1
        assert engine.restarts == 1
        assert not engine.notice
        wait_for(lambda: spare["name"] in [p["name"] for p in places() if p["streams"]])
    finally:
        engine.stop()


def test_what_no_node_can_run_is_refused_with_the_reason(
    cluster: Any,
) -> None:
    failures: list[Any] = []
    engine = EngineProcess(on_cluster(engine_cpus=64), failures.append)
    engine.start()
    try:
        wait_for(lambda: failures)
    finally:
        engine.stop()
    assert "no node has room for an engine that takes 0 GPUs and 64 CPUs" in str(failures[0])
    missing = request_text(build_config([{"model": "nobody/nothing", "offline": True}]))
    answer = ask_pool(THIS_MACHINE, "lease", "a stream", missing, [])
    assert "nobody/nothing" in answer["refused"]
    first, last = ask_pool(THIS_MACHINE, "status")["refusals"]
    assert "64 CPUs" in first["why"]
    assert last["why"] == answer["refused"]


def test_an_absent_cluster_is_reported_with_the_remedy() -> None:
    pytest.importorskip("ray", reason='needs the extra "cluster"')
    with pytest.raises(EngineError, match=r'no Ray cluster at ray://127.0.0.1:9: .*"ray start'):
        check_cluster("ray://127.0.0.1:9")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_client, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r'pip install "streamcam\[cluster\]"'):
        check_cluster("ray://127.0.0.1:9")
