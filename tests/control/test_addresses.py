"""Every address without a network: messages in, new parameters out."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.control.addresses import WITHOUT_PREFIX, Addresses
from streamcam.control.dispatcher import Dispatcher, Outcome
from streamcam.control.messages import Argument, Message
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Control
from streamcam.settings.base import literal_values, traits
from streamcam.settings.config_layers import build_config
from streamcam.settings.named_numbers import is_named_numbers
from streamcam.settings.number_range import Range
from streamcam.settings.parameters import Parameters

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=300)


class Harness:
    """A dispatcher that is given messages as if they had arrived."""

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
        return self.apply_bundle(Message(address, arguments), source=source)

    def apply_bundle(self, *messages: Message, source: object = "a") -> Parameters:
        self.outcome = self.dispatcher.apply(messages, source)
        return self.control.target

    def feedback(self) -> dict[str, tuple[Argument, ...]]:
        return dict(self.addresses.messages(self.control.target))


@pytest.mark.parametrize("name", Parameters.model_fields)
def test_every_field_has_an_address_that_accepts_its_own_feedback(name: str) -> None:
    harness = Harness(strength=0.5)
    address = f"/streamcam/{name}"
    assert address in harness.addresses.known
    feedback = harness.feedback()
    if address in feedback:
        before = harness.control.target
        assert harness(address, *feedback[address]) == before
        assert (harness.outcome.refused, harness.outcome.unknown) == ([], [])


def test_every_address_accepts_its_own_feedback_unchanged() -> None:
    harness = Harness(strength=0.5, prompt='[["cat", 0.25], ["dog", 0.75]]')
    before = harness.control.target
    for address, arguments in harness.feedback().items():
        after = harness(address, *arguments)
        assert harness.outcome.refused == [], address
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
    harness = Harness(guidance_scale=7)
    after = harness("/streamcam/guidance_scale", sent)
    assert after.guidance_scale == (7 if wanted is None else wanted)
    assert bool(harness.outcome.refused) is (wanted is None)


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [(7.4, 7), (7.6, 8), ("12", 12), (-3.0, 0), (1e30, 2**63 - 1), (2**62 + 1, 2**62 + 1)],
)
def test_floats_are_rounded_into_whole_numbers(sent: Argument, wanted: int) -> None:
    assert Harness()("/streamcam/seed", sent).seed == wanted


def test_the_last_digits_of_a_large_number_sent_as_text_are_kept() -> None:
    assert Harness()("/streamcam/seed", str(2**62 + 1)).seed == 2**62 + 1


def test_clamped_values_are_distinguished_from_rounded_ones() -> None:
    harness = Harness()
    harness("/streamcam/seed", 7.4)
    assert (harness.outcome.applied, harness.outcome.clamped) == (["/streamcam/seed"], [])
    harness("/streamcam/guidance_scale", 31.0)
    assert (harness.outcome.applied, harness.outcome.clamped) == (
        [],
        ["/streamcam/guidance_scale"],
    )


@pytest.mark.parametrize(
    ("address", "share", "wanted"),
    [
        ("guidance_scale/norm", 0.5, 2.0),
        ("mix/norm", 0.25, 0.25),
        ("similarity/threshold/norm", 0.0, 0.8),
        ("fps/limit/norm", 2.0, 60.0),
        ("num_inference_steps/norm", 0.0, 2),
        ("strength/norm", 0.5, 0.5),
        ("seed/norm", 1.0, 9999),
        ("prompt/time/norm", 0.5, 5.0),
    ],
)
def test_norm_maps_0_to_1_to_the_range(address: str, share: float, wanted: float) -> None:
    harness = Harness()
    harness(f"/streamcam/{address}", share)
    values = harness.control.target.model_dump().values()
    assert wanted in values
    assert harness.outcome.refused == []


def test_beyond_a_fader_the_whole_range_is_reached_by_number() -> None:
    harness = Harness()
    assert harness("/streamcam/guidance_scale", 12.0).guidance_scale == 12.0
    assert harness.feedback()["/streamcam/guidance_scale/norm"] == (1.0,)
    assert harness("/streamcam/similarity/threshold", -0.5).similar_image_filter_threshold == -0.5
    assert harness.feedback()["/streamcam/similarity/threshold/norm"] == (0.0,)


def test_a_fader_gives_no_fewer_steps_than_the_indices_need() -> None:
    harness = Harness()
    harness("/streamcam/num_inference_steps", 400)
    harness("/streamcam/t_index_list", 100, 300)
    assert harness("/streamcam/num_inference_steps/norm", 0.1).num_inference_steps == 301


def test_every_usual_part_lies_within_its_range() -> None:
    for name, field in Parameters.model_fields.items():
        if usual := traits(field).usual:
            named = is_named_numbers(field)
            range_ = Range.of_each(field) if named else Range.of_field(field)
            assert range_ is not None, name
            assert range_.low <= usual[0] < usual[1] <= range_.high, name
            assert named or range_.clamp(field.default) == field.default


def test_every_number_has_a_norm_address_with_feedback() -> None:
    harness = Harness(strength=0.5, strength_person=0.5, strength_background=0.5)
    feedback = harness.feedback()
    for name, field in Parameters.model_fields.items():
        numeric = field.annotation in (int, float) or "float | None" in str(field.annotation)
        if numeric and not traits(field).trigger:
            assert 0 <= float(feedback[f"/streamcam/{name}/norm"][0] or 0) <= 1


@pytest.mark.parametrize("sent", [(), (True,), (1,), (1.0,), ("on",), ("TRUE",), ("1",), (0.7,)])
def test_toggles_are_switched_on(sent: tuple[Argument, ...]) -> None:
    assert Harness()("/streamcam/panic", *sent).panic


@pytest.mark.parametrize("sent", [False, 0, 0.0, "off", "false", "0", 0.3, None])
def test_toggles_are_switched_off(sent: Argument) -> None:
    assert not Harness(panic=True)("/streamcam/panic", sent).panic


def test_pause_and_play_freeze_and_unfreeze() -> None:
    harness = Harness()
    assert harness("/pause").freeze
    assert not harness("/play").freeze
    assert harness("/play", 0).freeze


def test_triggers_fire_on_no_argument_on_true_and_on_a_rise() -> None:
    harness = Harness()
    presses: list[tuple[Argument, ...]] = [(), (True,), (True,), (1.0,), (0.0,), (1,), (0.2,)]
    for sent in presses:
        harness("/streamcam/reset", *sent)
    assert harness.control.target.reset == 5
    for sent in [(0.0,), (False,), (None,), (0.49,), (math.nan,)]:
        assert harness("/streamcam/reset", *sent).reset == 5
    assert harness("/streamcam/reset", 0.5).reset == 6
    assert harness("/streamcam/reset", 0.9).reset == 6


def test_a_button_that_one_client_holds_is_free_for_another() -> None:
    harness = Harness()
    harness("/streamcam/snapshot", 1.0, source="tablet")
    assert harness("/streamcam/snapshot", 1.0, source="tablet").snapshot == 1
    assert harness("/streamcam/snapshot", 1.0, source="laptop").snapshot == 2


def test_a_bundle_may_press_a_button_twice() -> None:
    harness = Harness()
    assert harness.apply_bundle(Message("/streamcam/reset"), Message("/streamcam/reset")).reset == 2


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [("90", "90"), (90, "90"), (90.0, "90"), (1, "90"), (3.0, "270"), ("1", "90")],
)
def test_rotate_takes_degrees_or_an_index(sent: Argument, wanted: str) -> None:
    assert Harness(rotate="180")("/streamcam/rotate", sent).rotate == wanted


@pytest.mark.parametrize("sent", [45, "45", 4, 7.0, -1, 1.4, 0.5, True, False, None, "", 2**70])
def test_a_rotation_that_there_is_not_is_refused(sent: Argument) -> None:
    harness = Harness(rotate="180")
    assert harness("/streamcam/rotate", sent).rotate == "180"
    [(address, reason)] = harness.outcome.refused
    assert address == "/streamcam/rotate"
    assert reason.startswith('has no "')
    if sent == 45:
        assert reason == 'has no "45": known: 0, 180, 270, 90'


@pytest.mark.parametrize(
    ("address", "arguments"),
    [
        ("prompt_interpolation", (2,)),
        ("preset/load", (1000,)),
        ("preset/load", (0.5,)),
        ("preset/load", ()),
        ("prompt/blend", (4, 0, 0.5)),
        ("prompt/blend", (0, -1, 0.5)),
        ("prompt/blend", (0.4, 1, 0.5)),
        ("prompt/blend", (None, 1, 0.5)),
    ],
)
def test_nothing_is_taken_for_the_nearest_word_or_slot(
    address: str, arguments: tuple[Argument, ...]
) -> None:
    harness = Harness()
    before = harness.control.target
    assert harness(f"/streamcam/{address}", *arguments) == before
    assert len(harness.outcome.refused) == 1


@pytest.mark.parametrize("address", ["prompt", "negative_prompt", "prompt/a/text", "prompt/0"])
def test_only_an_explicit_empty_text_clears_a_prompt(address: str) -> None:
    harness = Harness(prompt="cat", negative_prompt="dog")
    before = harness.control.target
    assert harness(f"/streamcam/{address}") == before
    [(_, reason)] = harness.outcome.refused
    assert reason == 'takes a text; an empty one, "", clears it'
    after = harness(f"/streamcam/{address}", "")
    assert ("", 1.0) in (after.prompt[0], after.negative_prompt[0])


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("seed_list", ("[[-5, 1]]",)),
        ("num_inference_steps/norm", (0.0,)),
        ("prompt/a/weight", (2000,)),
        ("blend_t", (1.5,)),
        ("t_index_list", (10, 400)),
    ],
)
def test_every_number_that_is_clamped_counts_as_clamped(
    address: str, sent: tuple[Argument, ...]
) -> None:
    harness = Harness()
    harness(f"/streamcam/{address}", *sent)
    assert harness.outcome.clamped == [f"/streamcam/{address}"]


def test_every_choice_is_accepted_by_name_and_by_index() -> None:
    harness = Harness()
    for name, field in Parameters.model_fields.items():
        for index, word in enumerate(literal_values(field)):
            assert getattr(harness(f"/streamcam/{name}", word), name) == word
            assert getattr(harness(f"/streamcam/{name}", index), name) == word
    harness("/streamcam/prompt_interpolation", "lerp")
    assert harness.outcome.refused[0][1].startswith('has no "lerp"')


def test_the_arguments_of_a_prompt_are_joined_with_spaces() -> None:
    harness = Harness()
    assert harness("/streamcam/prompt", "a", "cat", 3, 0.5).prompt == (("a cat 3 0.5", 1.0),)
    assert harness("/streamcam/negative_prompt", "blurry").negative_prompt == (("blurry", 1.0),)


def test_a_long_prompt_is_cut_between_letters() -> None:
    text, _ = Harness()("/streamcam/prompt", "ä" * 3000).prompt[0]
    assert text == "ä" * 500
    text, _ = Harness()("/streamcam/prompt", "a" + "ä" * 3000).prompt[0]
    assert text == "a" + "ä" * 499


@pytest.mark.parametrize(
    ("address", "more"), [("prompt", ()), ("prompt/b/text", ()), ("blend", ("sun", 0.5))]
)
def test_a_prompt_that_is_cut_is_applied_with_a_warning(
    address: str, more: tuple[Argument, ...]
) -> None:
    harness = Harness()
    harness(f"/streamcam/{address}", "x" * 1000, *more)
    assert harness.outcome.warnings == []
    harness(f"/streamcam/{address}", "x" * 1001, *more)
    [(name, text)] = harness.outcome.warnings
    assert (name, text) == (f"/streamcam/{address}", "takes 1000 bytes; the rest is left out")


def test_a_prompt_may_be_a_list_as_json() -> None:
    wanted = (("a cat", 0.7), ("a dog", 0.3))
    for address in ("/prompt_list", "/streamcam/prompt_list", "/streamcam/prompt"):
        assert Harness()(address, json.dumps(wanted)).prompt == wanted
    harness = Harness()
    for broken in ('{"a": 1}', "[[1, 2]]", "[]", '[["a", -1]]', '[["a", 0]]', "[" * 999):
        harness("/prompt_list", broken)
        assert len(harness.outcome.refused) == 1


def test_slots_are_the_entries_of_the_prompt() -> None:
    harness = Harness(prompt="first")
    assert harness("/streamcam/prompt/b/text", "second").prompt == (
        ("first", 1.0),
        ("second", 0.0),
    )
    assert harness("/streamcam/prompt/b/weight", 0.5).prompt[1] == ("second", 0.5)
    assert harness("/streamcam/prompt/d/text", "fourth").prompt[2:] == (("", 0.0), ("fourth", 0.0))
    assert harness("/prompt/0", "other").prompt[0] == ("other", 1.0)
    assert harness.feedback()["/streamcam/prompt/b/weight"] == (0.5,)
    assert harness.feedback()["/streamcam/prompt/d/text"] == ("fourth",)


def test_the_last_weight_never_goes_all_the_way_to_0() -> None:
    harness = Harness(prompt="first")
    harness("/streamcam/prompt/b/text", "second")
    assert harness("/streamcam/prompt/a/weight", 0.0).prompt == (("first", 0.001), ("second", 0.0))
    swapped = harness.apply_bundle(
        Message("/streamcam/prompt/a/weight", (0.0,)), Message("/streamcam/prompt/b/weight", (1.0,))
    )
    assert swapped.prompt == (("first", 0.0), ("second", 1.0))


def test_blend_takes_two_texts_or_slots_and_a_position_between_them() -> None:
    harness = Harness(prompt='["cat", "dog", "cow"]')
    assert harness("/blend_t", 0.25).prompt == (("cat", 0.75), ("dog", 0.25), ("cow", 1.0))
    assert harness("/streamcam/prompt/blend", 2, 0.0, 0.5).prompt == (("cow", 0.5), ("cat", 0.5))
    assert harness("/blend", "sun", "moon", 2.0).prompt == (("sun", 0.0), ("moon", 1.0))
    harness("/blend", "sun", "moon")
    assert harness.outcome.refused == [
        ("/streamcam/blend", "takes two prompts and a number from 0 to 1")
    ]


@pytest.mark.parametrize("sent", [(10, 20), (10.0, 20.4), ("10,20",), ("[10, 20]",), ("10", "20")])
def test_timesteps_come_as_numbers_or_as_text(sent: tuple[Argument, ...]) -> None:
    assert Harness()("/t_list", *sent).t_index_list == (10, 20)


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
def test_timesteps_of_another_number_are_refused(sent: tuple[Argument, ...]) -> None:
    harness = Harness()
    assert harness("/t_list", *sent) == harness.control.target
    assert len(harness.outcome.refused) == 1


def test_of_strength_and_timesteps_the_later_one_counts() -> None:
    strength, indices = Message("/streamcam/strength", (0.5,)), Message("/t_list", (10, 20))
    harness = Harness()
    after = harness.apply_bundle(strength, indices)
    assert (after.strength, after.t_index_list) == (None, (10, 20))
    after = harness.apply_bundle(indices, strength)
    assert (after.strength, after.t_index_list) == (0.5, None)


def test_the_schedule_is_never_shorter_than_what_points_into_it() -> None:
    assert Harness()("/num_inference_steps", 1).num_inference_steps == 2
    assert Harness(t_index_list="32,45")("/num_inference_steps", 1).num_inference_steps == 46


def test_a_seed_is_random_or_the_heaviest_of_a_list() -> None:
    harness = Harness()
    drawn = {harness("/streamcam/seed/random").seed for _ in range(5)}
    assert len(drawn) > 1
    assert max(drawn) < 2**31
    assert harness("/seed_list", "[[5, 0.2], [9, 0.8]]").seed == 9
    for broken in ("[]", "[1]", "[[1]]", '[["a", "b"]]', "x", "[[[], {}]]"):
        harness("/seed_list", broken)
        assert len(harness.outcome.refused) == 1, broken


def test_known_addresses_work_with_and_without_the_prefix() -> None:
    addresses = Addresses("/studio")
    for name in WITHOUT_PREFIX:
        with_prefix = addresses.find(f"/studio/{name}")
        assert with_prefix is not None
        assert addresses.find(f"/{name}") == with_prefix
    assert addresses.find("/panic") is None


def test_an_alias_stands_for_an_address_with_or_without_the_prefix() -> None:
    harness = Harness(osc_alias={"/layer1/opacity": "/mix/norm", "/x": "/streamcam/reset"})
    assert harness("/layer1/opacity", 0.25).mix == 0.25
    assert harness("/x").reset == 1


def test_the_prefix_may_be_another_or_none() -> None:
    assert Harness(osc_prefix="/vj/left")("/vj/left/seed", 5).seed == 5
    assert Harness(osc_prefix="")("/similarity/enable", 1).enable_similar_image_filter


def test_an_unknown_address_is_answered_with_the_nearest() -> None:
    harness = Harness()
    harness("/streamcam/guidance_scal", 3)
    assert harness.outcome.unknown == ["/streamcam/guidance_scal"]
    hint = 'did you mean "/streamcam/guidance_scale"?'
    assert harness.addresses.suggest(harness.outcome.unknown[0]) == hint


def test_a_preset_changes_only_live_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    harness = Harness(seed=77)
    assert set(looks) & set(harness.presets.names) == {"a-look"}
    assert any("broken is left out" in line for line in harness.reports)
    for path in (tmp_path / "configs").iterdir():
        path.unlink()
    after = harness("/streamcam/preset/load", "a-look")
    assert (after.prompt, after.guidance_scale, after.seed) == ((("look", 1.0),), 2.5, 77)
    assert (after.t_index_list, harness.presets.current) == (None, "a-look")


def test_presets_are_loaded_by_name_by_index_and_one_after_the_other() -> None:
    harness = Harness()
    names = harness.presets.names
    assert {"neon", "oil", "pencil"} <= set(names)
    assert harness("/streamcam/preset/load", "neon").strength == 0.55
    harness("/streamcam/preset/load", float(names.index("oil")))
    assert harness.presets.current == harness.control.preset == "oil"
    for _ in names:
        harness("/streamcam/preset/next")
    assert harness.presets.current == "oil"
    harness("/streamcam/preset/prev", 1.0)
    assert harness.presets.current == names[names.index("oil") - 1]


@pytest.mark.parametrize("sent", ["nein", "", "../../etc/passwd", "/etc/passwd", "x.toml"])
def test_an_unknown_preset_is_refused(sent: str) -> None:
    harness = Harness()
    before = harness.control.target
    assert harness("/streamcam/preset/load", sent) == before
    assert "no " in harness.outcome.refused[0][1]
    assert harness.presets.current is None


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
def test_the_target_stays_valid_for_any_messages(
    sent: list[tuple[int, list[Argument]]], steps: int
) -> None:
    harness = HARNESSES.setdefault(steps, Harness(steps=steps))
    known = sorted(harness.addresses.known)
    harness.apply_bundle(*(Message(known[n % len(known)], tuple(a)) for n, a in sent))
    target = harness.control.target
    assert Parameters.model_validate(target.model_dump()) == target


HARNESSES: dict[int, Harness] = {}
