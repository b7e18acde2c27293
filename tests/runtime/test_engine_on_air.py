"""One engine takes the place of another: no frame is missing, shown twice or out of order."""

import pytest

from streamcam.errors import StreamcamError
from streamcam.runtime import engine_on_air
from streamcam.runtime.engine_on_air import EngineOnAir
from streamcam.runtime.engine_process import RUNNING, STOPPED
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from tests.runtime.fake_engine import FakeEngine, frame

SMALL = build_config([{"model": "identity", "width": 64, "height": 64, "steps": 1}])
LARGE = SMALL.model_copy(update={"width": 128, "height": 128})


@pytest.fixture
def on_air(monkeypatch: pytest.MonkeyPatch) -> EngineOnAir:
    """Return a running engine, to be replaced."""
    monkeypatch.setattr(FakeEngine, "made", [])
    monkeypatch.setattr(engine_on_air, "EngineProcess", FakeEngine)
    on_air = EngineOnAir(SMALL, raised, lambda _items, _why, _instead: None)
    FakeEngine.made[0].load()
    return on_air


def raised(error: StreamcamError) -> None:
    raise error


def candidate_of(on_air: EngineOnAir, config: Config = LARGE) -> FakeEngine:
    on_air.replace(config)
    return FakeEngine.made[-1]


def shown(on_air: EngineOnAir, *indices: int) -> list[tuple[int, int]]:
    """Offer frames one by one; return their outputs: the width of the engine, and the index."""
    seen = []
    for index in indices:
        on_air.offer(frame(index), SMALL.live)
        seen += widths(on_air, on_air.outputs())
    return seen


def widths(on_air: EngineOnAir, outputs: list[Frame]) -> list[tuple[int, int]]:
    return [(on_air.engine.config.width, output.index) for output in outputs]


def test_the_engine_on_air_goes_on_until_the_next_one_gives_outputs(on_air: EngineOnAir) -> None:
    candidate = candidate_of(on_air)
    assert shown(on_air, 0, 1) == [(64, 0), (64, 1)]
    assert not candidate.offered
    candidate.load()
    # Both have an output of frame 2, and that on air was first.
    assert shown(on_air, 2, 3, 4) == [(64, 2), (128, 3), (128, 4)]
    first = FakeEngine.made[0]
    assert candidate.before is first
    assert on_air.changed.is_set()
    assert not on_air.is_changing
    on_air.end_retired()
    assert (first.state, on_air.engine.state) == (STOPPED, RUNNING)


def test_time_never_goes_back_when_the_next_engine_is_slower(on_air: EngineOnAir) -> None:
    candidate = candidate_of(on_air)
    candidate.load()
    seen = []
    for index in range(6):
        on_air.offer(frame(index), SMALL.live)
        late, candidate.ready = candidate.ready[-1:], candidate.ready[:-1]
        seen += widths(on_air, on_air.outputs())
        candidate.ready += late
    indices = [index for _, index in seen]
    assert indices == sorted(set(indices))
    assert seen[-1][0] == 128
    # Frames went to it alone once it was known to work: it shows the next one, only later.
    assert set(range(indices[-1] + 1)) == set(indices)


def test_an_engine_that_does_not_use_the_newest_values_is_not_put_on_air(
    on_air: EngineOnAir,
) -> None:
    candidate = candidate_of(on_air)
    candidate.load(settled=False)
    assert shown(on_air, *range(50)) == [(64, index) for index in range(50)]
    # It gets a few frames meanwhile, to say when it does.
    assert 5 <= len(candidate.offered) < 15
    candidate.is_settled = True
    assert shown(on_air, 50, 51, 52)[-1] == (128, 52)
    candidate.is_settled = False
    assert shown(on_air, 53) == [(128, 53)]


def test_values_that_change_meanwhile_are_those_of_the_next_engine(on_air: EngineOnAir) -> None:
    candidate = candidate_of(on_air)
    candidate.load()
    changed = SMALL.live.changed({"seed": 7})
    on_air.offer(frame(0), changed)
    assert candidate.offered[-1][1] is changed
    assert FakeEngine.made[0].offered[-1][1] is changed


@pytest.mark.parametrize("loaded", [False, True])
def test_an_engine_that_fails_before_it_is_on_air_changes_nothing(
    on_air: EngineOnAir, loaded: bool
) -> None:
    candidate = candidate_of(on_air)
    if loaded:
        candidate.load()
        assert shown(on_air, 0) == [(64, 0)]
    candidate.die()
    assert shown(on_air, 1, 2) == [(64, 1), (64, 2)]
    assert not on_air.is_changing
    assert str(on_air.failure) == "no memory"
    on_air.end_retired()
    assert candidate.state == STOPPED


def test_with_several_steps_as_many_outputs_are_awaited_as_there_are_frames_in_flight(
    on_air: EngineOnAir,
) -> None:
    candidate = candidate_of(on_air, LARGE.model_copy(update={"steps": 3}))
    candidate.load()
    assert shown(on_air, 0, 1, 2, 3) == [(64, 0), (64, 1), (64, 2), (128, 3)]


def test_one_that_is_lost_can_be_replaced_at_once(on_air: EngineOnAir) -> None:
    lost = FakeEngine.made[0]
    lost.die()
    on_air.replace_lost(LARGE, raised)
    assert lost.state == STOPPED
    assert on_air.engine.config is LARGE
    assert on_air.engine.restarts == 1


def test_all_engines_end_with_the_broadcast(on_air: EngineOnAir) -> None:
    candidate_of(on_air)
    on_air.stop()
    assert [engine.state for engine in FakeEngine.made] == [STOPPED, STOPPED]
