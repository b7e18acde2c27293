"""What every address takes, without a network: messages in, the target of the operator out."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.control.osc.addresses import WITHOUT_PREFIX, Addresses
from streamcam.control.osc.dispatcher import Dispatcher, Outcome
from streamcam.control.osc.packets import Argument, Message
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Control
from streamcam.settings.base import literal_values
from streamcam.settings.config import build_config
from streamcam.settings.parameters import Parameters

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=300)


class Switcher:
    """A console that is fed messages as if they had come in."""

    def __init__(self, **given_: Any) -> None:
        config = build_config([given_])
        self.reports: list[str] = []
        self.control = Control(config)
        self.addresses = Addresses(config.broadcast.osc_prefix, config.broadcast.osc_alias)
        self.presets = PresetBank(config, self.reports.append)
        self.dispatcher = Dispatcher(self.control, config, self.addresses, self.presets)
        self.outcome = Outcome()

    def __call__(self, address: str, *arguments: Argument, source: object = "a") -> Parameters:
        """Apply one message and return the target."""
        return self.together(Message(address, arguments), source=source)

    def together(self, *messages: Message, source: object = "a") -> Parameters:
        self.outcome = self.dispatcher.apply(messages, source)
        return self.control.target

    def told(self) -> dict[str, tuple[Argument, ...]]:
        return dict(self.addresses.messages(self.control.target))


@pytest.mark.parametrize("name", Parameters.model_fields)
def test_every_field_has_an_address_that_accepts_what_it_tells(name: str) -> None:
    switcher = Switcher(strength=0.5)
    address = f"/streamcam/{name}"
    assert address in switcher.addresses.known
    told = switcher.told()
    if address in told:
        before = switcher.control.target
        assert switcher(address, *told[address]) == before
        assert (switcher.outcome.refused, switcher.outcome.unknown) == ([], [])


def test_every_address_that_tells_something_takes_it_back_unchanged() -> None:
    switcher = Switcher(strength=0.5, prompt='[["cat", 0.25], ["dog", 0.75]]')
    before = switcher.control.target
    for address, arguments in switcher.told().items():
        after = switcher(address, *arguments)
        assert switcher.outcome.refused == [], address
        assert after.prompt == before.prompt, address
        if not address.endswith("/norm"):
            assert after == before, address


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        (3, 3.0),
        (2.5, 2.5),
        ("1.75", 1.75),
        (True, 1.0),
        (False, 0.0),
        (None, 0.0),
        (2**40, 30.0),
        (-1, 0.0),
        (1e300, 30.0),
        ("1e400", None),
        ("", None),
        ("many", None),
        (math.nan, None),
        (math.inf, None),
        ("nan", None),
        (1.2000000476837158, 1.2),
    ],
)
def test_any_number_is_taken_for_a_number_and_clamped(sent: Argument, wanted: float | None) -> None:
    switcher = Switcher(guidance_scale=7)
    after = switcher("/streamcam/guidance_scale", sent)
    assert after.guidance_scale == (7 if wanted is None else wanted)
    assert bool(switcher.outcome.refused) is (wanted is None)


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [(7.4, 7), (7.6, 8), ("12", 12), (-3.0, 0), (1e30, 2**63 - 1), (2**62 + 1, 2**62 + 1)],
)
def test_floats_are_rounded_into_whole_numbers(sent: Argument, wanted: int) -> None:
    assert Switcher()("/streamcam/seed", sent).seed == wanted


def test_the_last_digits_of_a_large_number_sent_as_text_are_kept() -> None:
    assert Switcher()("/streamcam/seed", str(2**62 + 1)).seed == 2**62 + 1


def test_what_is_clamped_is_told_apart_from_what_is_rounded() -> None:
    switcher = Switcher()
    switcher("/streamcam/seed", 7.4)
    assert (switcher.outcome.applied, switcher.outcome.clamped) == (["/streamcam/seed"], [])
    switcher("/streamcam/guidance_scale", 31.0)
    assert (switcher.outcome.applied, switcher.outcome.clamped) == (
        [],
        ["/streamcam/guidance_scale"],
    )


@pytest.mark.parametrize(
    ("address", "share", "wanted"),
    [
        ("guidance_scale/norm", 0.5, 15.0),
        ("mix/norm", 0.25, 0.25),
        ("similarity/threshold/norm", 0.0, -1.0),
        ("fps/limit/norm", 2.0, 1000.0),
        ("num_inference_steps/norm", 0.0, 2),
        ("strength/norm", 0.5, 0.5),
        ("seed/norm", 1.0, 2**31 - 1),
    ],
)
def test_norm_takes_0_to_1_for_the_range(address: str, share: float, wanted: float) -> None:
    switcher = Switcher()
    switcher(f"/streamcam/{address}", share)
    values = switcher.control.target.model_dump().values()
    assert wanted in values
    assert switcher.outcome.refused == []


def test_every_number_has_norm_and_tells_it() -> None:
    switcher = Switcher(strength=0.5)
    told = switcher.told()
    for name, field in Parameters.model_fields.items():
        numeric = field.annotation in (int, float) or "float | None" in str(field.annotation)
        if numeric and name not in ("reset", "snapshot"):
            assert 0 <= float(told[f"/streamcam/{name}/norm"][0] or 0) <= 1


@pytest.mark.parametrize("sent", [(), (True,), (1,), (1.0,), ("on",), ("TRUE",), ("1",), (0.7,)])
def test_toggles_are_switched_on(sent: tuple[Argument, ...]) -> None:
    assert Switcher()("/streamcam/panic", *sent).panic


@pytest.mark.parametrize("sent", [False, 0, 0.0, "off", "false", "0", 0.3, None])
def test_toggles_are_switched_off(sent: Argument) -> None:
    assert not Switcher(panic=True)("/streamcam/panic", sent).panic


def test_pause_and_play_freeze_and_let_go() -> None:
    switcher = Switcher()
    assert switcher("/pause").freeze
    assert not switcher("/play").freeze
    assert switcher("/play", 0).freeze


def test_triggers_fire_on_nothing_on_true_and_on_a_rise() -> None:
    switcher = Switcher()
    presses: list[tuple[Argument, ...]] = [(), (True,), (True,), (1.0,), (0.0,), (1,), (0.2,)]
    for sent in presses:
        switcher("/streamcam/reset", *sent)
    assert switcher.control.target.reset == 5
    for sent in [(0.0,), (False,), (None,), (0.49,), (math.nan,)]:
        assert switcher("/streamcam/reset", *sent).reset == 5
    assert switcher("/streamcam/reset", 0.5).reset == 6
    assert switcher("/streamcam/reset", 0.9).reset == 6


def test_a_button_that_one_client_holds_is_free_for_another() -> None:
    switcher = Switcher()
    switcher("/streamcam/snapshot", 1.0, source="tablet")
    assert switcher("/streamcam/snapshot", 1.0, source="tablet").snapshot == 1
    assert switcher("/streamcam/snapshot", 1.0, source="laptop").snapshot == 2


def test_a_bundle_may_press_a_button_twice() -> None:
    switcher = Switcher()
    assert switcher.together(Message("/streamcam/reset"), Message("/streamcam/reset")).reset == 2


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [("90", "90"), (90, "90"), (90.0, "90"), (1, "90"), (3.0, "270"), (7, "270"), (-1, "0")],
)
def test_rotate_takes_degrees_or_an_index(sent: Argument, wanted: str) -> None:
    assert Switcher(rotate="180")("/streamcam/rotate", sent).rotate == wanted


def test_every_enumeration_is_taken_by_name_and_by_index() -> None:
    switcher = Switcher()
    for name, field in Parameters.model_fields.items():
        for index, word in enumerate(literal_values(field)):
            assert getattr(switcher(f"/streamcam/{name}", word), name) == word
            assert getattr(switcher(f"/streamcam/{name}", index), name) == word
    switcher("/streamcam/prompt_interpolation", "lerp")
    assert switcher.outcome.refused[0][1].startswith('no "lerp"')


def test_the_arguments_of_a_prompt_are_joined_with_spaces() -> None:
    switcher = Switcher()
    assert switcher("/streamcam/prompt", "a", "cat", 3, 0.5).prompt == (("a cat 3 0.5", 1.0),)
    assert switcher("/streamcam/negative_prompt", "blurry").negative_prompt == (("blurry", 1.0),)


def test_a_prompt_is_cut_to_a_kilobyte_and_no_letter_in_two() -> None:
    text, _ = Switcher()("/streamcam/prompt", "ä" * 3000).prompt[0]
    assert text == "ä" * 500
    text, _ = Switcher()("/streamcam/prompt", "a" + "ä" * 3000).prompt[0]
    assert text == "a" + "ä" * 499


def test_a_prompt_may_be_a_list_as_json() -> None:
    wanted = (("a cat", 0.7), ("a dog", 0.3))
    for address in ("/prompt_list", "/streamcam/prompt_list", "/streamcam/prompt"):
        assert Switcher()(address, json.dumps(wanted)).prompt == wanted
    switcher = Switcher()
    for broken in ('{"a": 1}', "[[1, 2]]", "[]", '[["a", -1]]', '[["a", 0]]', "[" * 999):
        switcher("/prompt_list", broken)
        assert len(switcher.outcome.refused) == 1


def test_slots_are_the_entries_of_the_prompt() -> None:
    switcher = Switcher(prompt="first")
    assert switcher("/streamcam/prompt/b/text", "second").prompt == (
        ("first", 1.0),
        ("second", 0.0),
    )
    assert switcher("/streamcam/prompt/b/weight", 0.5).prompt[1] == ("second", 0.5)
    assert switcher("/streamcam/prompt/d/text", "fourth").prompt[2:] == (("", 0.0), ("fourth", 0.0))
    assert switcher("/prompt/0", "other").prompt[0] == ("other", 1.0)
    assert switcher.told()["/streamcam/prompt/b/weight"] == (0.5,)
    assert switcher.told()["/streamcam/prompt/d/text"] == ("fourth",)


def test_the_last_weight_never_goes_all_the_way_to_0() -> None:
    switcher = Switcher(prompt="first")
    switcher("/streamcam/prompt/b/text", "second")
    assert switcher("/streamcam/prompt/a/weight", 0.0).prompt == (("first", 0.001), ("second", 0.0))
    swapped = switcher.together(
        Message("/streamcam/prompt/a/weight", (0.0,)), Message("/streamcam/prompt/b/weight", (1.0,))
    )
    assert swapped.prompt == (("first", 0.0), ("second", 1.0))


def test_blend_takes_two_texts_or_slots_and_the_way_between() -> None:
    switcher = Switcher(prompt='["cat", "dog", "cow"]')
    assert switcher("/blend_t", 0.25).prompt == (("cat", 0.75), ("dog", 0.25), ("cow", 1.0))
    assert switcher("/streamcam/prompt/blend", 2, 0.0, 0.5).prompt == (("cow", 0.5), ("cat", 0.5))
    assert switcher("/blend", "sun", "moon", 2.0).prompt == (("sun", 0.0), ("moon", 1.0))
    switcher("/blend", "sun", "moon")
    assert switcher.outcome.refused == [
        ("/streamcam/blend", "takes two prompts and a number from 0 to 1")
    ]


@pytest.mark.parametrize("sent", [(10, 20), (10.0, 20.4), ("10,20",), ("[10, 20]",), ("10", "20")])
def test_timesteps_come_as_numbers_or_as_text(sent: tuple[Argument, ...]) -> None:
    assert Switcher()("/t_list", *sent).t_index_list == (10, 20)


@pytest.mark.parametrize(
    "sent",
    [
        (),
        (1,),
        (1, 2, 3),
        (20, 10),
        ("a,b",),
        ("{}",),
        ('[["a", 1]]',),
        (f"[{10**400}, 1]",),
        (math.nan, 3),
    ],
)
def test_timesteps_that_the_structure_cannot_run_are_refused(sent: tuple[Argument, ...]) -> None:
    switcher = Switcher()
    assert switcher("/t_list", *sent) == switcher.control.target
    assert len(switcher.outcome.refused) == 1


def test_of_strength_and_timesteps_the_later_one_counts() -> None:
    strength, indices = Message("/streamcam/strength", (0.5,)), Message("/t_list", (10, 20))
    switcher = Switcher()
    after = switcher.together(strength, indices)
    assert (after.strength, after.t_index_list) == (None, (10, 20))
    after = switcher.together(indices, strength)
    assert (after.strength, after.t_index_list) == (0.5, None)


def test_the_schedule_is_never_shorter_than_what_points_into_it() -> None:
    assert Switcher()("/num_inference_steps", 1).num_inference_steps == 2
    assert Switcher(t_index_list="32,45")("/num_inference_steps", 1).num_inference_steps == 46


def test_seeds_are_drawn_or_taken_from_a_list() -> None:
    switcher = Switcher()
    drawn = {switcher("/streamcam/seed/random").seed for _ in range(5)}
    assert len(drawn) > 1
    assert max(drawn) < 2**31
    assert switcher("/seed_list", "[[5, 0.2], [9, 0.8]]").seed == 9
    for broken in ("[]", "[1]", "[[1]]", '[["a", "b"]]', "x", "[[[], {}]]"):
        switcher("/seed_list", broken)
        assert len(switcher.outcome.refused) == 1, broken


def test_known_addresses_work_with_and_without_the_prefix() -> None:
    addresses = Addresses("/desk")
    for name in WITHOUT_PREFIX:
        with_prefix = addresses.find(f"/desk/{name}")
        assert with_prefix is not None
        assert addresses.find(f"/{name}") == with_prefix
    assert addresses.find("/panic") is None


def test_an_alias_stands_for_an_address_with_or_without_the_prefix() -> None:
    switcher = Switcher(osc_alias={"/layer1/opacity": "/mix/norm", "/x": "/streamcam/reset"})
    assert switcher("/layer1/opacity", 0.25).mix == 0.25
    assert switcher("/x").reset == 1


def test_the_prefix_may_be_another_or_none() -> None:
    assert Switcher(osc_prefix="/vj/left")("/vj/left/seed", 5).seed == 5
    assert Switcher(osc_prefix="")("/similarity/enable", 1).enable_similar_image_filter


def test_an_unknown_address_is_answered_with_the_nearest() -> None:
    switcher = Switcher()
    switcher("/streamcam/guidance_scal", 3)
    assert switcher.outcome.unknown == ["/streamcam/guidance_scal"]
    hint = 'did you mean "/streamcam/guidance_scale"?'
    assert switcher.addresses.suggest(switcher.outcome.unknown[0]) == hint


def test_presets_give_their_live_values_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    looks = {
        "a-look": 'prompt = "look"\nguidance_scale = 2.5\nwidth = 256\nt_index_list = [1, 2, 3]',
        "other-model": 'model = "some/thing"\nguidance_scale = 9.0',
        "broken": "prompt = ",
        "nothing": "width = 256",
    }
    for name, text in looks.items():
        (tmp_path / "configs" / f"{name}.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    switcher = Switcher(seed=77)
    assert set(looks) & set(switcher.presets.names) == {"a-look"}
    assert any("broken is left out" in line for line in switcher.reports)
    for path in (tmp_path / "configs").iterdir():
        path.unlink()
    after = switcher("/streamcam/preset/load", "a-look")
    assert (after.prompt, after.guidance_scale, after.seed) == ((("look", 1.0),), 2.5, 77)
    assert (after.t_index_list, switcher.presets.current) == (None, "a-look")


def test_presets_are_loaded_by_name_by_index_and_one_after_the_other() -> None:
    switcher = Switcher()
    names = switcher.presets.names
    assert {"neon", "oil", "pencil"} <= set(names)
    assert switcher("/streamcam/preset/load", "neon").strength == 0.55
    switcher("/streamcam/preset/load", float(names.index("oil")))
    assert switcher.presets.current == "oil"
    for _ in names:
        switcher("/streamcam/preset/next")
    assert switcher.presets.current == "oil"
    switcher("/streamcam/preset/prev", 1.0)
    assert switcher.presets.current == names[names.index("oil") - 1]


@pytest.mark.parametrize("sent", ["nein", "", "../../etc/passwd", "/etc/passwd", "x.toml"])
def test_an_unknown_preset_is_refused(sent: str) -> None:
    switcher = Switcher()
    before = switcher.control.target
    assert switcher("/streamcam/preset/load", sent) == before
    assert "no " in switcher.outcome.refused[0][1]
    assert switcher.presets.current is None


def test_a_preset_fades_in_over_its_own_time() -> None:
    now = 0.0
    config = build_config([{"preset_time": 2, "guidance_scale": 1}])
    control = Control(config, clock=lambda: now)
    dispatcher = Dispatcher(control, config, Addresses("/x"), PresetBank(config, print))
    dispatcher.apply([Message("/x/preset/load", ("sd-1.5-lcm",))], "a")
    dispatcher.apply(
        [Message("/x/preset/load", ("neon",)), Message("/x/guidance_scale", (3.0,))], "a"
    )
    now = 1.0
    assert control.advance().guidance_scale == pytest.approx(2.0)
    now = 2.0
    assert control.advance() == control.target


JSON = st.recursive(
    st.integers() | st.floats() | st.text(max_size=5) | st.none(), st.lists, max_leaves=6
).map(json.dumps)
ARGUMENTS = st.lists(
    st.one_of(st.integers(), st.floats(), st.text(max_size=20), st.booleans(), st.none(), JSON),
    max_size=4,
)


@EXAMPLES
@given(
    sent=st.lists(st.tuples(st.integers(0, 200), ARGUMENTS), min_size=1, max_size=12),
    steps=st.integers(1, 4),
)
def test_whatever_is_sent_the_target_stays_valid(
    sent: list[tuple[int, list[Argument]]], steps: int
) -> None:
    switcher = DESKS.setdefault(steps, Switcher(steps=steps))
    known = sorted(switcher.addresses.known)
    switcher.together(*(Message(known[n % len(known)], tuple(a)) for n, a in sent))
    target = switcher.control.target
    assert Parameters.model_validate(target.model_dump()) == target


DESKS: dict[int, Switcher] = {}
