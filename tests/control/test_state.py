"""The live state: whole snapshots, fades, changes from many threads."""

from threading import Event, Thread

import pytest

from streamcam.control.state import Control, Fade
from streamcam.errors import ParameterError
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import Easing


class Clock:
    """Clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def control_and_clock(**settings: object) -> tuple[Control, Clock]:
    clock = Clock()
    return Control(build_config([settings]), clock), clock


def test_a_change_is_published_whole_and_at_once() -> None:
    control, _ = control_and_clock()
    after = control.change({"guidance_scale": 1.4, "seed": 7})
    assert control.parameters is after is control.target
    assert (after.guidance_scale, after.seed) == (1.4, 7)


def test_a_refused_change_leaves_everything_as_it_was() -> None:
    control, _ = control_and_clock()
    before = control.parameters
    for changes in ({"seed": 7, "delta": -1}, {"width": 64}, {"t_index_list": [1]}):
        with pytest.raises(ParameterError):
            control.change(changes)
        assert control.parameters is before is control.target


def test_a_new_prompt_fades_in_over_prompt_time() -> None:
    control, clock = control_and_clock(prompt="cat", prompt_time=4)
    target = control.change({"prompt": "dog"})
    assert target.prompt == (("dog", 1.0),)
    assert control.parameters.prompt == (("cat", 1.0),)
    clock.now += 1
    assert dict(control.advance().prompt) == {"cat": 0.75, "dog": 0.25}
    clock.now += 10
    assert control.advance() is control.target


def test_the_output_does_not_wait_for_a_change_that_is_being_decided() -> None:
    control, clock = control_and_clock(prompt="cat", prompt_time=4)
    control.change({"prompt": "dog"})
    deciding, advanced = Event(), Event()

    def decide(target: Parameters) -> tuple[dict[str, object], None]:
        deciding.set()
        assert advanced.wait(10), "the output waits"
        return {"seed": 9}, None

    bundle = Thread(target=control.update, args=(decide,))
    bundle.start()
    assert deciding.wait(10)
    clock.now += 1
    faded = dict(control.advance().prompt)
    advanced.set()
    bundle.join()
    assert faded == {"cat": 0.75, "dog": 0.25}
    assert (control.advance().seed, control.target.seed) == (9, 9)


def test_a_repeated_prompt_does_not_restart_its_fade() -> None:
    control, clock = control_and_clock(prompt="cat", prompt_time=4)
    for _ in range(41):
        control.change({"prompt": "dog"})
        clock.now += 0.1
    assert control.advance().prompt == (("dog", 1.0),)


def test_weights_follow_their_fader_without_a_fade() -> None:
    control, _ = control_and_clock(prompt='["cat", "dog"]', prompt_time=4)
    control.change({"prompt": [["cat", 0.3], ["dog", 0.7]]})
    assert control.parameters.prompt == (("cat", 0.3), ("dog", 0.7))


def test_a_text_without_weight_starts_no_fade() -> None:
    control, _ = control_and_clock(prompt="cat", prompt_time=4)
    control.change({"prompt": [["cat", 1], ["dog", 0]]})
    assert control.parameters is control.target


def test_a_change_during_a_fade_applies_at_once_and_the_fade_goes_on() -> None:
    control, clock = control_and_clock(prompt="cat", prompt_time=4)
    control.change({"prompt": "dog"})
    clock.now += 2
    control.change({"guidance_scale": 5})
    assert control.parameters.guidance_scale == 5
    assert dict(control.parameters.prompt) == {"cat": 0.5, "dog": 0.5}
    clock.now += 1
    assert dict(control.advance().prompt) == {"cat": 0.25, "dog": 0.75}


def test_a_fade_may_be_reversed_in_the_middle() -> None:
    control, clock = control_and_clock(guidance_scale=0)
    control.change({"guidance_scale": 10}, over=10)
    clock.now += 5
    assert control.advance().guidance_scale == pytest.approx(5)
    control.change({"guidance_scale": 0}, over=5)
    assert control.parameters.guidance_scale == pytest.approx(5)
    clock.now += 2.5
    assert control.advance().guidance_scale == pytest.approx(2.5)
    clock.now += 2.5
    assert control.advance().guidance_scale == 0


@pytest.mark.parametrize(
    ("easing", "quarters"),
    [
        ("linear", (0.25, 0.5, 0.75)),
        ("ease-in", (0.0625, 0.25, 0.5625)),
        ("ease-out", (0.4375, 0.75, 0.9375)),
        ("ease-in-out", (0.15625, 0.5, 0.84375)),
    ],
)
def test_a_fade_moves_by_its_easing_and_ends_in_time(
    easing: Easing, quarters: tuple[float, ...]
) -> None:
    control, clock = control_and_clock(guidance_scale=0)
    control.change({"guidance_scale": 1}, over=Fade(4, easing))
    for wanted in (*quarters, 1.0, 1.0):
        clock.now += 1
        assert control.advance().guidance_scale == pytest.approx(wanted)
    assert control.parameters is control.target


def test_a_change_in_the_middle_of_a_fade_leaves_its_easing() -> None:
    control, clock = control_and_clock(guidance_scale=0)
    control.change({"guidance_scale": 1}, over=Fade(4, "ease-in"))
    clock.now += 1
    control.change({"seed": 9})
    clock.now += 1
    assert control.advance().guidance_scale == pytest.approx(0.25)


def test_values_that_do_not_fade_change_at_the_beginning_of_a_fade() -> None:
    control, _ = control_and_clock(prompt="cat")
    control.change({"prompt": "dog", "seed": 9, "bypass": True}, over=5)
    assert (control.parameters.seed, control.parameters.bypass) == (9, True)
    assert control.parameters.prompt == (("cat", 1.0),)


def test_strength_fades_only_between_numbers() -> None:
    control, clock = control_and_clock(strength=0.2)
    control.change({"strength": 0.6}, over=2)
    clock.now += 1
    assert control.advance().strength == pytest.approx(0.4)
    control.change({"t_index_list": [10, 20]}, over=2)
    assert (control.parameters.strength, control.parameters.t_index_list) == (None, (10, 20))


def test_update_starts_from_the_target_and_not_from_the_middle_of_a_fade() -> None:
    control, clock = control_and_clock(guidance_scale=0)
    control.change({"guidance_scale": 10}, over=10)
    clock.now += 5
    control.advance()
    control.update(lambda now: ({"guidance_scale": now.guidance_scale + 1}, 0.0))
    assert control.target.guidance_scale == 11


def test_no_increment_from_many_threads_is_lost() -> None:
    control, _ = control_and_clock()

    def press() -> None:
        for _ in range(200):
            control.update(lambda now: ({"reset": now.reset + 1}, None))

    threads = [Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert control.target.reset == 800


def test_listeners_are_called_for_every_new_snapshot_and_only_for_those() -> None:
    control, clock = control_and_clock(guidance_scale=0)
    published: list[tuple[Parameters, Parameters]] = []
    control.listen(lambda before, after: published.append((before, after)))
    control.change({"seed": 2})
    assert published == []
    control.change({"guidance_scale": 2}, over=2)
    clock.now += 1
    control.advance()
    control.advance()
    clock.now += 1
    control.advance()
    assert [(b.guidance_scale, a.guidance_scale) for b, a in published] == [(0, 1), (1, 2)]


def test_refused_values_give_way_and_stay_refused() -> None:
    control, _ = control_and_clock(prompt="cat")
    works = control.change({"prompt": "dog"})
    control.change({"prompt": "bomb", "guidance_scale": 9.0, "freeze": True})
    control.refuse({("prompt", "bomb")}, "it crashed", works)
    after = control.parameters
    assert after is control.target
    assert (after.prompt, after.guidance_scale, after.freeze) == (
        works.prompt,
        works.guidance_scale,
        True,
    )
    for changes in ({"prompt": "bomb"}, {"prompt": '[["cat", 1], ["bomb", 0.1]]', "seed": 3}):
        with pytest.raises(ParameterError, match="it crashed"):
            control.change(changes)
        assert control.parameters is after
    control.change({"prompt": '[["cat", 1], ["bomb", 0]]'})


def test_a_fade_to_refused_values_ends() -> None:
    control, clock = control_and_clock(prompt="cat", prompt_time=4)
    works = control.parameters
    control.change({"prompt": "bomb"})
    clock.now += 1
    assert len(control.advance().prompt) == 2
    control.refuse({("prompt", "bomb")}, "it crashed", works)
    clock.now += 1
    assert control.advance().prompt == works.prompt


def test_values_that_are_refused_but_not_in_use_change_nothing() -> None:
    control, _ = control_and_clock(prompt="cat")
    before = control.change({"seed": 9})
    control.refuse({("prompt", "bomb")}, "it crashed", build_config([{}]).live)
    assert control.parameters is before
