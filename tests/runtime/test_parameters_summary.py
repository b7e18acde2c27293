import pytest

from streamcam.runtime.parameters_summary import active_overrides, prompt_text
from streamcam.settings.parameters import Parameters


def test_overrides_are_named_with_the_strongest_first() -> None:
    assert active_overrides(Parameters()) == ()
    parameters = Parameters(bypass=True, panic=True, freeze=True)
    assert active_overrides(parameters) == ("panic", "freeze", "bypass")


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("", ""),
        ("a cat", "a cat"),
        ([["a cat", 1.5], ["a dog", 0.5]], "a cat 75% + a dog 25%"),
        ([["a cat", 2], ["a dog", 0]], "a cat"),
    ],
)
def test_a_prompt_is_one_text_with_the_shares_of_several(prompt: object, text: str) -> None:
    assert prompt_text(Parameters.parse({"prompt": prompt}).prompt) == text
