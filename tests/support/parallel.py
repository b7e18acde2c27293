"""Distribute tests over processes (pytest-xdist) by file, slow files first.

A file stays in one process, since its tests share fixtures that are slow to make. Only tests of the
files in `SPREAD` are distributed one by one: they share nothing, and one of them takes long.
"""

from typing import Any

import pytest

SLOW = (
    "engines/test_every_dtype.py",
    "engines/test_compiled.py",
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
"""Files that take longer than ten seconds, the longest first."""
SPREAD = ("engines/test_every_dtype.py",)


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(_XdistHooks())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort slow files first in xdist workers, so that no process finishes long after the rest."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: place_of(item.nodeid))


def place_of(nodeid: str) -> int:
    """Return the index of a test's file in `SLOW`, or its length for files that are not in it."""
    file = nodeid.split("::", maxsplit=1)[0].removeprefix("tests/")
    return SLOW.index(file) if file in SLOW else len(SLOW)


class _XdistHooks:
    """Hooks of pytest-xdist, which are unknown to pytest without it."""

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Return a scheduler that distributes files in the order of collection."""
        from xdist.scheduler import LoadFileScheduling

        class SlowFirst(LoadFileScheduling):
            def _split_scope(self, nodeid: str) -> str:
                file: str = super()._split_scope(nodeid)
                return nodeid if file.removeprefix("tests/") in SPREAD else file

        # By default files with many tests go first, however quick they are.
        config.option.loadscopereorder = False
        return SlowFirst(config, log)
