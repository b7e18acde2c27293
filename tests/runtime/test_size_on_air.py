"""Engine processes of two sizes change places while a broadcast is watched."""

from pathlib import Path

import pytest

from streamcam.runtime import auto_size
from tests.runtime.broadcast_helpers import RecordingSink, engine_processes, on_air, until

RED = (200, 40, 90)
GROWING = {"grow_to": 112, "canvas": "128x96"}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what takes a second take a moment."""
    monkeypatch.setattr(auto_size, "INTERVAL_S", 0.07)


@pytest.mark.usefixtures("quick")
def test_processes_change_places_without_a_slate_or_a_frame_out_of_order(tmp_path: Path) -> None:
    with on_air(engine_dir=str(tmp_path), **GROWING) as (broadcast, control, _, seen):
        until(lambda: broadcast.status().fps_model)
        assert broadcast.status().size == "64x48"
        first = len(seen.frames)
        until(lambda: broadcast.status().size == "152x112")
        control.change({"seed": 3})
        seen.wait_for(10)
        until(lambda: len(engine_processes()) == 1)
        assert broadcast.status().state == "running"
        assert broadcast.applied_parameters()[1].seed == 3
        check(seen, first)


def check(seen: RecordingSink, first: int) -> None:
    """Raise unless all frames since `first` are in the camera's colour, and in order."""
    assert all(seen.colour(i) == RED for i in range(first, len(seen.frames)))
    indices = [frame.index for frame in seen.frames[first:]]
    assert indices == sorted(indices)


@pytest.mark.usefixtures("quick")
def test_a_process_that_is_killed_while_it_loads_leaves_all_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with on_air(engine_dir=str(tmp_path), **GROWING) as (broadcast, _, _, seen):
        until(lambda: broadcast.status().fps_model)
        first = len(seen.frames)
        until(lambda: len(engine_processes()) == 2)
        engine_processes()[1].kill()
        until(lambda: "64x48 stays, since 152x112 does not run: the engine has died" in caplog.text)
        seen.wait_for(30)
        assert broadcast.status().size == "64x48"
        assert broadcast.status().restarts == 0
        assert len(engine_processes()) == 1
        check(seen, first)
