"""Test that prompts name looks and colours in many ways, some of them held out."""

import numpy as np
import pytest

from training.looks import COLOURS, LOOKS, PLAIN, draw_colours, render
from training.wordings import (
    EMPTY,
    example,
    mistyped,
    negative,
    phrases_of,
    prompt,
    unknown,
    vocabulary,
    wording,
)
from training.wordings_table import COLOUR_WORDS, FRAMES, GROUNDS, PHRASES


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def words_for(name: str) -> list[str]:
    return COLOUR_WORDS[name].split("|")


def test_every_look_and_colour_has_words() -> None:
    assert set(PHRASES) == set(LOOKS)
    assert set(COLOUR_WORDS) == set(COLOURS)


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_has_at_least_fifteen_names_and_some_held_out(look: str) -> None:
    trained, held_out = phrases_of(look), phrases_of(look, held_out=True)
    assert len(set(trained)) == len(trained) >= 15
    assert len(held_out) >= 4
    assert not set(trained) & set(held_out)


def test_no_two_looks_share_a_name() -> None:
    names = [
        name
        for look in LOOKS
        for split in (False, True)
        for name in phrases_of(look, held_out=split)
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("look", [name for name, look in LOOKS.items() if max(look.colours)])
@pytest.mark.parametrize("held_out", [False, True])
def test_prompts_name_their_colours(look: str, held_out: bool) -> None:
    draws = rng()
    for _ in range(60):
        colours = draw_colours(draws, look)
        text = prompt(draws, look, colours, held_out=held_out)
        for name in colours:
            assert any(word in text for word in words_for(name)), (colours, text)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("held_out", [False, True])
def test_prompts_are_clean_text(look: str, held_out: bool) -> None:
    draws = rng(1)
    for _ in range(60):
        text = prompt(draws, look, draw_colours(draws, look), held_out=held_out)
        assert text == text.strip(" ,")
        assert text
        assert "{" not in text
        assert "  " not in text
        assert ", ," not in text
        assert len(text.split()) <= 26


def test_a_look_has_many_different_prompts() -> None:
    draws = rng(2)
    assert len({prompt(draws, "pencil") for _ in range(300)}) > 150


def test_the_prompt_blue_neon_edges_on_black_can_be_drawn() -> None:
    draws = rng(3)
    drawn = {wording(draws, "neon", ("blue", "black")) for _ in range(20_000)}
    assert "blue neon edges on black" in drawn


def test_only_looks_with_a_background_colour_have_words_for_it() -> None:
    assert set(GROUNDS) == {
        name for name, look in LOOKS.items() if 2 in look.colours and name != "duotone"
    }


def test_held_out_names_are_not_in_the_vocabulary() -> None:
    trained = set(vocabulary())
    for look in LOOKS:
        held_out = {name.replace("{}", "") for name in phrases_of(look, held_out=True)}
        assert not trained & held_out


def test_examples_contain_the_look_and_the_colours_of_their_prompt() -> None:
    draws = rng(4)
    drawn = [example(draws) for _ in range(600)]
    empty = [each for each in drawn if each.prompt == EMPTY]
    assert 30 < len(empty) < 100
    assert all(each.look == PLAIN for each in empty)
    assert {each.look for each in drawn} == set(LOOKS)
    small = np.full((16, 16, 3), 128, np.uint8)
    for each in drawn[:100]:
        assert render(small, each.look, each.colours).shape == small.shape


def test_an_unknown_prompt_names_no_look() -> None:
    draws = rng(5)
    names = {
        name for look in LOOKS if look != PLAIN for name in phrases_of(look) if "{}" not in name
    }
    for _ in range(200):
        assert unknown(draws) not in names


def test_a_negative_prompt_lists_names() -> None:
    draws = rng(6)
    names = phrases_of("thermal")
    for _ in range(50):
        parts = negative(draws, "thermal").split(", ")
        assert set(parts) <= set(names)
        assert len(set(parts)) == len(parts)


def test_a_name_without_a_colour_is_complete() -> None:
    draws = rng(7)
    for look in LOOKS:
        if 0 in LOOKS[look].colours:
            for _ in range(80):
                assert wording(draws, look).split()[-1] not in {"in", "of", "a", "on", "with"}


def test_articles_fit_their_words() -> None:
    draws = rng(8)
    for _ in range(500):
        assert " a e" not in f" {prompt(draws, 'emboss')}"


def test_frames_keep_the_look_in_the_sentence() -> None:
    assert all("{}" in frame for frame in FRAMES.split("|"))


def test_some_prompts_are_mistyped_by_at_most_one_letter() -> None:
    draws = rng(7)
    typed = [mistyped(draws, "a pencil sketch of a person") for _ in range(400)]
    wrong = [text for text in typed if text != "a pencil sketch of a person"]
    assert 20 < len(wrong) < 100
    assert all(abs(len(text) - 27) <= 1 for text in typed)
    assert mistyped(rng(0), "") == ""
