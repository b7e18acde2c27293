"""The one mutable cell: whole snapshots, fades, and nobody who waits."""

from threading import Thread

import pytest

from streamcam.control.state import Control
from streamcam.errors import ParameterError
from streamcam.settings.config import build_config
from streamcam.settings.parameters import Parameters


class Clock:
    """Time that passes when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def switcher(**settings: object) -> tuple[Control, Clock]:
    clock = Clock()
    return Control(build_config([settings]), clock), clock


def test_a_change_is_seen_whole_and_at_once() -> None:
    control, _ = switcher()
    after = control.change({"guidance_scale": 1.4, "seed": 7})
    assert control.parameters is after is control.target
    assert (after.guidance_scale, after.seed) == (1.4, 7)


def test_what_is_refused_leaves_everything_as_it_was() -> None:
    control, _ = switcher()
    before = control.parameters
    for changes in ({"seed": 7, "delta": -1}, {"width": 64}, {"t_index_list": [1]}):
        with pytest.raises(ParameterError):
            control.change(changes)
        assert control.parameters is before is control.target


def test_a_new_prompt_fades_in_over_prompt_time() -> None:
    control, clock = switcher(prompt="cat", prompt_time=4)
    target = control.change({"prompt": "dog"})
    assert target.prompt == (("dog", 1.0),)
    assert control.parameters.prompt == (("cat", 1.0),)
    clock.now += 1
    assert dict(control.advance().prompt) == {"cat": 0.75, "dog": 0.25}
    clock.now += 10
    assert control.advance() is control.target


def test_a_prompt_sent_again_and_again_does_not_hold_its_fade_up() -> None:
    control, clock = switcher(prompt="cat", prompt_time=4)
    for _ in range(41):
        control.change({"prompt": "dog"})
        clock.now += 0.1
    assert control.advance().prompt == (("dog", 1.0),)


def test_weights_follow_their_fader_without_a_fade() -> None:
    control, _ = switcher(prompt='["cat", "dog"]', prompt_time=4)
    control.change({"prompt": [["cat", 0.3], ["dog", 0.7]]})
    assert control.parameters.prompt == (("cat", 0.3), ("dog", 0.7))


def test_a_text_without_weight_is_prepared_without_a_fade() -> None:
    control, _ = switcher(prompt="cat", prompt_time=4)
    control.change({"prompt": [["cat", 1], ["dog", 0]]})
    assert control.parameters is control.target


def test_a_knob_turned_during_a_fade_counts_at_once_and_the_fade_goes_on() -> None:
    control, clock = switcher(prompt="cat", prompt_time=4)
    control.change({"prompt": "dog"})
    clock.now += 2
    control.change({"guidance_scale": 5})
    assert control.parameters.guidance_scale == 5
    assert dict(control.parameters.prompt) == {"cat": 0.5, "dog": 0.5}
    clock.now += 1
    assert dict(control.advance().prompt) == {"cat": 0.25, "dog": 0.75}


def test_a_fade_may_turn_round_in_the_middle() -> None:
    control, clock = switcher(guidance_scale=0)
    control.change({"guidance_scale": 10}, over=10)
    clock.now += 5
    assert control.advance().guidance_scale == pytest.approx(5)
    control.change({"guidance_scale": 0}, over=5)
    assert control.parameters.guidance_scale == pytest.approx(5)
    clock.now += 2.5
    assert control.advance().guidance_scale == pytest.approx(2.5)
    clock.now += 2.5
    assert control.advance().guidance_scale == 0


def test_what_cannot_glide_changes_at_the_beginning_of_a_fade() -> None:
    control, _ = switcher(prompt="cat")
    control.change({"prompt": "dog", "seed": 9, "bypass": True}, over=5)
    assert (control.parameters.seed, control.parameters.bypass) == (9, True)
    assert control.parameters.prompt == (("cat", 1.0),)


def test_strength_glides_between_numbers_alone() -> None:
    control, clock = switcher(strength=0.2)
    control.change({"strength": 0.6}, over=2)
    clock.now += 1
    assert control.advance().strength == pytest.approx(0.4)
    control.change({"t_index_list": [10, 20]}, over=2)
    assert (control.parameters.strength, control.parameters.t_index_list) == (None, (10, 20))


def test_update_decides_on_what_the_operator_has_set_not_on_where_the_fade_is() -> None:
    control, clock = switcher(guidance_scale=0)
    control.change({"guidance_scale": 10}, over=10)
    clock.now += 5
    control.advance()
    control.update(lambda now: ({"guidance_scale": now.guidance_scale + 1}, 0.0))
    assert control.target.guidance_scale == 11


def test_counters_raised_from_many_threads_lose_nothing() -> None:
    control, _ = switcher()

    def press() -> None:
        for _ in range(200):
            control.update(lambda now: ({"reset": now.reset + 1}, None))

    threads = [Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert control.target.reset == 800


def test_listeners_hear_of_every_snapshot_and_of_nothing_else() -> None:
    control, clock = switcher(guidance_scale=0)
    heard: list[tuple[Parameters, Parameters]] = []
    control.listen(lambda before, after: heard.append((before, after)))
    control.change({"seed": 2})
    assert heard == []
    control.change({"guidance_scale": 2}, over=2)
    clock.now += 1
    control.advance()
    control.advance()
    clock.now += 1
    control.advance()
    assert [(b.guidance_scale, a.guidance_scale) for b, a in heard] == [(0, 1), (1, 2)]
