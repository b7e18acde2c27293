"""Draw prompts for looks and colours, in the words that people use."""

import re
from typing import NamedTuple

import numpy as np

from training.looks import LOOKS, PLAIN, draw_colours, draw_look
from training.wordings_table import (
    COLOUR_WORDS,
    DOINGS,
    EXTRAS,
    FRAMES,
    GROUNDS,
    PEOPLE,
    PHRASES,
    THINGS,
)

EMPTY = ""


class Example(NamedTuple):
    """Prompt, with the look and the colours that it asks for."""

    prompt: str
    look: str
    colours: tuple[str, ...]


def example(rng: np.random.Generator, *, held_out: bool = False) -> Example:
    """Draw a prompt: one in ten is empty, one in twelve names no look."""
    kind = rng.random()
    if kind < 0.10:
        return Example(EMPTY, PLAIN, ())
    if kind < 0.18:
        return Example(unknown(rng), PLAIN, ())
    look, colours = draw_look(rng)
    return Example(prompt(rng, look, colours, held_out=held_out), look, colours)


def prompt(
    rng: np.random.Generator, look: str, colours: tuple[str, ...] = (), *, held_out: bool = False
) -> str:
    """Draw a prompt for a look; held-out wordings are never used in training."""
    phrase = wording(rng, look, colours, held_out=held_out)
    frame = one_of(rng, FRAMES) if rng.random() < 0.65 else "{}"
    text = frame.format(phrase, subject=subject(rng), extra=extras(rng))
    return re.sub(r"\ba (?=[aeio])", "an ", text)


def mistyped(rng: np.random.Generator, text: str) -> str:
    """Add a typing error to some texts, so that parts of words are learnt too."""
    if rng.random() >= 0.15 or len(text) < 4:
        return text
    if rng.random() < 0.3:
        words = text.split()
        return " ".join(words[int(i)] for i in rng.permutation(len(words)))
    at = int(rng.integers(1, len(text) - 1))
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    choices = (text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:], swapped)
    return choices[int(rng.integers(len(choices)))]


def wording(
    rng: np.random.Generator, look: str, colours: tuple[str, ...] = (), *, held_out: bool = False
) -> str:
    """Draw a name for a look and its colours, without a sentence around it."""
    phrases = phrases_of(look, held_out=held_out)
    words = [one_of(rng, COLOUR_WORDS[colour]) for colour in colours]
    if look == "duotone" and words:
        pair = one_of(rng, "{} and {}|{} & {}|{}, {}|{}-{}").format(*words)
        return coloured(rng, phrases, pair)
    if not words:
        return bare(rng, look, phrases)
    named = coloured(rng, phrases, words[0])
    return one_of(rng, GROUNDS[look]).format(named, words[1]) if len(words) > 1 else named


def negative(rng: np.random.Generator, look: str, colours: tuple[str, ...] = ()) -> str:
    """Draw a negative prompt: names of a look, without sentences."""
    words = [wording(rng, look, colours) for _ in range(int(rng.integers(1, 4)))]
    return ", ".join(dict.fromkeys(words))


def unknown(rng: np.random.Generator) -> str:
    """Draw a prompt that names no look, for which the target is the plain image."""
    kind = rng.random()
    thing = f"a {one_of(rng, THINGS)} {one_of(rng, DOINGS)}"
    if kind < 0.15:
        thing = "".join(chr(97 + c) for c in rng.integers(0, 26, int(rng.integers(3, 9))))
    elif kind < 0.35:
        thing = one_of(rng, PEOPLE)
    elif kind < 0.5:
        thing = one_of(rng, THINGS)
    return f"{thing}, {extras(rng)}" if rng.random() < 0.3 else thing


def phrases_of(look: str, *, held_out: bool = False) -> list[str]:
    """Return the names of a look, with `{}` in the place of a colour."""
    return PHRASES[look][held_out].split("|")


def coloured(rng: np.random.Generator, phrases: list[str], colour: str) -> str:
    """Insert a colour into one of the phrases that have a place for it."""
    phrase = str(rng.choice([phrase for phrase in phrases if "{}" in phrase]))
    if phrase.endswith("{}"):
        return phrase.format(colour)
    kind = rng.random()
    if kind < 0.7:
        return phrase.format(f"{colour} ")
    return f"{phrase.format('')} in {colour}" if kind < 0.85 else f"{phrase.format('')}, {colour}"


def bare(rng: np.random.Generator, look: str, phrases: list[str]) -> str:
    """Draw a name of a look, without a colour."""
    # "two tones of" is no name.
    whole = [phrase for phrase in phrases if phrase == "{}" or not phrase.endswith("{}")]
    phrase = str(rng.choice(whole)).format("").replace("  ", " ").strip(" ,")
    return f"{phrase} on black" if look == "neon" and rng.random() < 0.3 else phrase


def subject(rng: np.random.Generator) -> str:
    """Draw a subject, which the model cannot add to an image and should ignore."""
    if rng.random() < 0.6:
        return one_of(rng, PEOPLE)
    thing = f"a {one_of(rng, THINGS)}"
    return thing if rng.random() < 0.6 else f"{thing} {one_of(rng, DOINGS)}"


def extras(rng: np.random.Generator) -> str:
    """Draw one to three additions that people make to any prompt."""
    count = int(rng.integers(1, 4))
    return ", ".join(dict.fromkeys(one_of(rng, EXTRAS) for _ in range(count)))


def one_of(rng: np.random.Generator, words: str) -> str:
    """Draw one of `words`, which are separated by bars."""
    choices = words.split("|")
    return choices[int(rng.integers(len(choices)))]


def vocabulary() -> list[str]:
    """Return every phrase of the training, without held-out ones, for the tokenizer."""
    texts = [phrase.replace("{}", "") for look in LOOKS for phrase in phrases_of(look)]
    lists = (*COLOUR_WORDS.values(), *GROUNDS.values(), FRAMES, EXTRAS, PEOPLE, THINGS, DOINGS)
    return texts + [text for words in lists for text in words.split("|")]


__all__ = [
    "EMPTY",
    "Example",
    "draw_colours",
    "draw_look",
    "example",
    "mistyped",
    "negative",
    "prompt",
    "unknown",
    "vocabulary",
    "wording",
]
