"""Weighted prompts are read as AUTOMATIC1111's web UI reads them, and never refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcam.settings.config_layers import build_config
from streamcam.settings.prompt_syntax import MAX_WEIGHT, parse_plain, parse_weighted

DOWN = 1 / 1.1


@pytest.mark.parametrize(
    ("text", "weighted"),
    [
        # The examples in the web UI's own documentation of its parser.
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0),
                ("house", 1.3 * 1.1 * 1.1),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.1**4),
                (".", 1.1),
            ],
        ),
        ("[a cat]", [("a cat", DOWN)]),
        ("[[a]] cat", [("a", DOWN * DOWN), (" cat", 1.0)]),
        ("(a cat: 1.25 )", [("a cat", 1.25)]),
        ("(a cat:-.5)", [("a cat", -0.5)]),
        ("(a (black:2) cat:1.5)", [("a ", 1.5), ("black", 3.0), (" cat", 1.5)]),
        (r"a cat \\ dog", [("a cat \\ dog", 1.0)]),
        ("(embedding:easy:1.2)", [("easy", 1.2)]),
        ("", []),
    ],
)
def test_brackets_give_weights(text: str, weighted: list[tuple[str, float]]) -> None:
    fragments = parse_weighted(text).fragments
    assert [part.text for part in fragments] == [words for words, _ in weighted]
    assert [part.weight for part in fragments] == pytest.approx([w for _, w in weighted])


def test_break_begins_a_new_chunk_also_between_brackets() -> None:
    parsed = parse_weighted("a cat BREAK (a dog BREAK red:1.5) BREAKFAST")
    shown = [(part.text.strip(), part.weight, part.breaks) for part in parsed.fragments]
    assert shown == [
        ("a cat", 1.0, False),
        ("", 1.0, True),
        ("a dog", 1.5, False),
        ("red", 1.5, True),
        ("BREAKFAST", 1.0, False),
    ]


@pytest.mark.parametrize(
    ("text", "words", "remark"),
    [
        ("a (cat", "a cat", 'a "(" is not closed, and counts to the end'),
        ("a [cat", "a cat", 'a "[" is not closed, and counts to the end'),
        ("a cat)", "a cat)", 'a ")" that closes nothing is read as text'),
        ("a cat:1.5)", "a cat:1.5)", 'a ")" that closes nothing is read as text'),
        ("a cat]", "a cat]", 'a "]" that closes nothing is read as text'),
        ("(a cat:big)", "a cat:big", '"big" is no number, and is read as text'),
        ("(a cat:1,3)", "a cat:1,3", '"1,3" is no number, and is read as text'),
        ("(a cat:1.2.3)", "a cat:1.2.3", '"1.2.3" is no number, and is read as text'),
        ("(a cat:99)", "a cat", "the weight 99 is limited to 10"),
        ("((a cat:5):5)", "a cat", "weights within weights are limited to 10 together"),
        ("[cat:dog:0.5]", "cat:dog:0.5", "is read as words: no prompt changes by step"),
        ("[cat|dog]", "cat|dog", "is read as words: no prompt changes by step"),
        ("cat <lora:x:0.7>", "cat ", "LoRAs are named at the start, with --lora"),
    ],
)
def test_what_is_not_read_as_it_may_be_meant_is_said(text: str, words: str, remark: str) -> None:
    parsed = parse_weighted(text)
    assert parsed.text == words
    assert len(parsed.remarks) == 1
    assert remark in parsed.remarks[0]


@given(st.text(alphabet="()[]:\\.19 a\nBREAK<lora>", max_size=300))
def test_any_text_is_read_with_weights_within_limits(text: str) -> None:
    for part in parse_weighted(text).fragments:
        assert -MAX_WEIGHT <= part.weight <= MAX_WEIGHT


@given(
    st.text(alphabet=st.characters(exclude_characters="()[]:\\<")).filter(
        lambda t: "BREAK" not in t
    )
)
def test_a_text_without_syntax_is_read_as_it_is(text: str) -> None:
    assert parse_weighted(text).text == text


@pytest.mark.parametrize(
    ("text", "is_remarked"),
    [
        ("a (cat:1.3)", True),
        ("a cat BREAK a dog", True),
        ("a cat (black)", False),
        ("at 10:30 (ten)", False),
    ],
)
def test_plain_words_that_look_weighted_are_remarked_on(text: str, is_remarked: bool) -> None:
    parsed = parse_plain(text)
    assert parsed.text == text
    assert [part.weight for part in parsed.fragments] == [1.0]
    assert bool(parsed.remarks) == is_remarked


@pytest.mark.parametrize("text", ["()", "([ ])", "BREAK", "<lora:x:1>", "( :1.3)"])
def test_a_weighted_prompt_without_words_is_empty(text: str) -> None:
    settings = {"empty_prompt": "camera", "prompt": text}
    config = build_config([settings, {"prompt_syntax": "weighted"}])
    assert config.shows_camera(config.live)
    plain = build_config([settings])
    assert not plain.shows_camera(plain.live)
