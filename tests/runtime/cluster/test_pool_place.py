"""Places as the pool counts them: who has one, who is to come, and what Ray's errors say."""

import pytest

from streamcam.runtime.cluster import pool_place
from streamcam.runtime.cluster.engine_request import request_text
from streamcam.runtime.cluster.pool_place import Place, root_cause
from streamcam.settings.config_layers import build_config

REQUEST = request_text(build_config([{"model": "nano", "engine_streams": 2}]))


def test_room_is_kept_for_a_stream_that_is_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("place-1", None, REQUEST, 0.0)
    place.reserve("a")
    place.reserve("a")
    assert (place.free, place.streams) == (1, {"a"})
    place.reserve("b")
    assert place.free == 0
    report = place.report()
    assert (report["state"], report["room"], report["streams"]) == ("starting", 2, {"a": 0, "b": 0})

    monkeypatch.setattr(pool_place, "RESERVED_S", -1.0)
    place.reserve("a")  # It has not come in time.
    assert (place.free, place.streams) == (1, {"b"})


def test_a_place_that_nobody_uses_grows_idle() -> None:
    place = Place("place-1", None, REQUEST, 0.0)
    first = place.idle_s
    assert place.idle_s >= first >= 0
    place.clients = {"a": 25.0}
    assert place.idle_s < first + 1


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("only this", "only this"),
        (
            "The actor died because of an error raised in its creation task,\n"
            '  File "x.py", line 3\nValueError: no such thing\n',
            "ValueError: no such thing",
        ),
        (
            "The actor died\nModuleNotFoundError: No module named 'streamcam.runtime'",
            "streamcam is not installed on the node: install the same version on all of them",
        ),
        ("", "RuntimeError"),
    ],
)
def test_an_error_of_ray_is_cut_down_to_its_cause(text: str, cause: str) -> None:
    assert root_cause(RuntimeError(text)) == cause
