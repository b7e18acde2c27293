from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.errors import ParameterError
from streamcam.settings.parameters import Parameters, indices_of
from streamcam.settings.value_types import MAX_PROMPTS

EXAMPLES = settings(derandomize=True, deadline=None)


def test_a_change_gives_a_new_snapshot_and_leaves_the_old_one() -> None:
    before = Parameters()
    after = before.changed({"guidance_scale": 1.4, "prompt": "neon"})
    assert (before.guidance_scale, before.prompt) == (1.2, (("", 1.0),))
    assert (after.guidance_scale, after.prompt) == (1.4, (("neon", 1.0),))


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("a cat", (("a cat", 1.0),)),
        ('[["cat", 0.7], ["dog", 0.3]]', (("cat", 0.7), ("dog", 0.3))),
        ([["cat", 0.7], "dog"], (("cat", 0.7), ("dog", 1.0))),
        ("[[masterpiece]], a cat", (("[[masterpiece]], a cat", 1.0),)),
        ("[" * 50_000, None),
        ("", (("", 1.0),)),
    ],
)
def test_a_prompt_is_a_text_or_texts_with_weights(given_: object, wanted: object) -> None:
    if wanted is None:
        with pytest.raises(ParameterError, match=r"at most 1000 bytes, not 50000"):
            Parameters().changed({"prompt": given_})
    else:
        assert Parameters().changed({"prompt": given_}).prompt == wanted


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"promt": "a"}, r'unknown parameter "promt": did you mean "prompt"\?'),
        ({"width": 64}, r'unknown parameter "width"'),
        ({"guidance_scale": 31}, r"guidance_scale: .*less than or equal to 30, got 31"),
        ({"guidance_scale": "nan"}, r"guidance_scale: .*finite"),
        ({"guidance_scale": None}, r"guidance_scale: .*got None"),
        ({"delta": -1}, r"delta: .*greater than or equal to 0"),
        ({"strength": 1.5}, r"strength: .*less than or equal to 1"),
        ({"seed": 2**63}, r"seed: "),
        ({"seed": 1.5}, r"seed: .*got 1\.5"),
        ({"prompt_interpolation": "lerp"}, r"prompt_interpolation: .*'linear' or 'slerp'"),
        ({"prompt": 3}, r"prompt: .*got 3"),
        ({"prompt": []}, r"prompt: .*at least 1"),
        ({"prompt": ["a"] * (MAX_PROMPTS + 1)}, r"prompt: .*at most 16"),
        ({"prompt": [["a", 0.0]]}, r"prompt: at least one prompt needs a weight above 0"),
        ({"prompt": [["a", -1]]}, r"prompt: "),
        ({"prompt": "ä" * 501}, r"prompt: a text takes at most 1000 bytes, not 1002"),
        ({"prompt": "\ud800"}, r"prompt: "),
        ({"t_index_list": "45,32"}, r"t_index_list must ascend: 45,32 could be 32,45"),
        ({"t_index_list": [32, 32]}, r"t_index_list must ascend: 32,32 could be 32"),
        ({"t_index_list": [32, 50]}, r"goes beyond the schedule: .*the last index is 49"),
        ({"t_index_list": []}, r"t_index_list: "),
        ({"t_index_list": "a,b"}, r"t_index_list: .*got 'a'"),
        ({"t_index_list": [-1]}, r"t_index_list: "),
        ({"num_inference_steps": 0}, r"num_inference_steps: "),
    ],
)
def test_an_invalid_value_is_explained_in_one_line(
    changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ParameterError, match=complaint) as caught:
        Parameters().changed(changes)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_one_wrong_value_refuses_the_whole_change() -> None:
    before = Parameters()
    with pytest.raises(ParameterError):
        before.changed({"seed": 7, "delta": -1})
    assert before == Parameters()


def test_strength_and_t_index_list_clear_each_other() -> None:
    exact = Parameters().changed({"t_index_list": "32,45"})
    assert exact.t_index_list == (32, 45)
    rough = exact.changed({"strength": 0.5})
    assert (rough.t_index_list, rough.strength) == (None, 0.5)
    assert rough.changed({"t_index_list": [10]}).strength is None
    assert exact.changed({"t_index_list": None}).t_index_list is None


@pytest.mark.parametrize(("given_", "wanted"), [("32, 45", (32, 45)), (7, (7,)), ("[1,2]", (1, 2))])
def test_indices_are_read_from_texts_numbers_and_lists(given_: object, wanted: object) -> None:
    assert Parameters().changed({"t_index_list": given_}).t_index_list == wanted


def test_the_default_strength_applies_if_none_is_set() -> None:
    assert Parameters().indices(2, 0.4) == indices_of(0.4, 2, 50) == (30, 40)
    assert Parameters(strength=1).indices(2, 0.4) == (0, 25)
    assert Parameters(t_index_list=(3, 4)).indices(2, 0.4) == (3, 4)


@EXAMPLES
@given(
    strength=st.floats(0, 1),
    length=st.integers(1, 1000),
    steps=st.integers(1, 50),
)
def test_any_strength_gives_ascending_indices_within_the_schedule(
    strength: float, length: int, steps: int
) -> None:
    steps = min(steps, length)
    indices = indices_of(strength, steps, length)
    assert len(indices) == steps
    assert list(indices) == sorted(set(indices))
    assert indices[0] >= 0
    assert indices[-1] < length


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text("019-,.[] a", max_size=8),
    st.lists(st.integers(), max_size=3),
)


@EXAMPLES
@given(st.dictionaries(st.sampled_from([*Parameters.model_fields, "x"]), ODD, max_size=3))
def test_any_change_is_accepted_or_refused_with_a_parameter_error(
    changes: dict[str, object],
) -> None:
    with suppress(ParameterError):
        assert isinstance(Parameters().changed(changes), Parameters)
