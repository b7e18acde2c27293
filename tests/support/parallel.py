"""Spread the tests over several processes (pytest-xdist), a file at a time, the slow ones first.

A file stays in one process, since its tests share what is slow to make. Only the tests of the files
in `SPREAD` are handed out one by one: they share nothing and one of them takes long.
"""

from typing import Any

import pytest

SLOW = (
    "engines/test_every_dtype.py",
    "engines/test_compiled.py",
    "engines/test_tensorrt.py",
    "video/parallel/test_ranks.py",
    "cli/test_render_stopped.py",
    "engines/test_float8.py",
    "engines/test_openvino.py",
    "models/test_nano.py",
    "cli/test_models.py",
    "video/parallel/test_migration.py",
    "video/test_live_stream.py",
    "cli/test_run.py",
    "runtime/test_broadcast.py",
    "video/parallel/test_layer_ring.py",
    "bench/test_video_bench.py",
    "benchmarks/test_targets.py",
    "bench/test_image_bench.py",
    "runtime/test_offline_render.py",
)
"""The files that take longer than ten seconds, the longest first."""
SPREAD = ("engines/test_every_dtype.py",)


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(_Spread())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put slow files first where several processes take the tests, so that none ends alone."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: place_of(item.nodeid))


def place_of(nodeid: str) -> int:
    """Return where a test's file stands in `SLOW`; files that are not in it come after it."""
    file = nodeid.split("::", maxsplit=1)[0].removeprefix("tests/")
    return SLOW.index(file) if file in SLOW else len(SLOW)


class _Spread:
    """What pytest-xdist asks, where it is installed."""

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Return a scheduler that hands out files in the order they were collected in."""
        from xdist.scheduler import LoadFileScheduling

        class SlowFirst(LoadFileScheduling):
            def _split_scope(self, nodeid: str) -> str:
                file: str = super()._split_scope(nodeid)
                return nodeid if file.removeprefix("tests/") in SPREAD else file

        # By default files with many tests go first, however quick they are.
        config.option.loadscopereorder = False
        return SlowFirst(config, log)
