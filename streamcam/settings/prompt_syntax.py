"""Weights and breaks in a prompt, as AUTOMATIC1111's web UI reads them.

``(word)`` counts 1.1 times, ``((word))`` 1.21 times, ``[word]`` 1 / 1.1 times, ``(word:1.3)`` 1.3
times; ``\\(`` is a bracket, and ``BREAK`` begins a new chunk. Nothing is refused: a text that comes
while the stream is on air is read as far as it can be, and remarks say what was not.
"""

import re
from functools import lru_cache
from typing import NamedTuple

ROUND, SQUARE = 1.1, 1 / 1.1
MAX_WEIGHT = 10.0
"""Beyond it a weight, of either sign, only breaks the image."""
MAX_REMARKS = 3
MAX_QUOTED = 40
BREAK = re.compile(r"\bBREAK\b")
TOKEN = re.compile(r"\\[\\()\[\]]|\\|\(|\[|:\s*([+-]?[.\d]+)\s*\)|\)|\]|[^\\()\[\]:]+|:")
NETWORK = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>")
"""Name of a network in the text, which the web UI takes out of it."""
EMBEDDING_PREFIX = re.compile(r"\bembedding:(?=\S)")
"""Which ComfyUI writes before the name of an embedding."""
LOOKS_WEIGHTED = re.compile(r"\([^()]+:\s*[.\d]+\s*\)|\bBREAK\b")


class Fragment(NamedTuple):
    """A part of a prompt that counts as much throughout."""

    text: str
    weight: float = 1.0
    breaks: bool = False
    """Whether it begins a new chunk."""


class ParsedPrompt(NamedTuple):
    """A prompt as it is read."""

    fragments: tuple[Fragment, ...]
    remarks: tuple[str, ...] = ()
    """What was not read as it may be meant, a few words each."""

    @property
    def text(self) -> str:
        """The words alone."""
        return "".join(f" {part.text}" if part.breaks else part.text for part in self.fragments)


@lru_cache(256)
def parse_plain(text: str) -> ParsedPrompt:
    """Return `text` as one fragment, with a remark if it seems to have weights."""
    remarks: tuple[str, ...] = ()
    if found := LOOKS_WEIGHTED.search(text):
        remarks = (f"{_quoted(found[0])} is read as plain words, as prompt_syntax is plain",)
    return ParsedPrompt((Fragment(text),), remarks)


@lru_cache(256)
def parse_weighted(text: str) -> ParsedPrompt:
    """Return the fragments of `text`, neighbours of one weight joined.

    The time is at most its length times the depth of its brackets.
    """
    parser = _Parser()
    for network in dict.fromkeys(NETWORK.findall(text)):
        parser.remark(f"{_quoted(network)} is left out: LoRAs are named at the start, with --lora")
    for token in TOKEN.finditer(EMBEDDING_PREFIX.sub("", NETWORK.sub("", text))):
        parser.read(token[0], token[1])
    return parser.result()


PARSERS = {"plain": parse_plain, "weighted": parse_weighted}
"""By ``prompt_syntax``."""


class _Parser:
    def __init__(self) -> None:
        self._texts: list[str] = []
        self._weights: list[float] = []
        self._breaks: set[int] = set()
        self._open: dict[str, list[int]] = {"(": [], "[": []}
        self._remarks: dict[str, None] = {}

    def remark(self, line: str) -> None:
        self._remarks[line] = None

    def read(self, token: str, weight: str | None) -> None:
        """Read one token; `weight` is the number in one such as ``:1.3)``."""
        if token[0] == "\\":
            self._add(token[1:])
        elif token in self._open:
            self._open[token].append(len(self._texts))
        elif weight is not None and self._open["("]:
            self._close_with(weight)
        elif token == ")" and self._open["("]:
            start = self._open["("].pop()
            self._remark_on_colon(start)
            self._multiply(start, ROUND)
        elif token == "]" and self._open["["]:
            start = self._open["["].pop()
            self._remark_on_schedule(start)
            self._multiply(start, SQUARE)
        else:
            if token[-1] in ")]":
                self.remark(f'a "{token[-1]}" that closes nothing is read as text')
            self._add_words(token)

    def _close_with(self, weight: str) -> None:
        start = self._open["("].pop()
        try:
            factor = float(weight)
        except ValueError:
            self.remark(f'"{_cut(weight)}" is no number, and is read as text')
            self._add(f":{weight}")
            factor = ROUND
        if abs(factor) > MAX_WEIGHT:
            self.remark(f"the weight {_cut(weight)} is limited to {MAX_WEIGHT:g}")
        self._multiply(start, _limited(factor))

    def _add(self, text: str) -> None:
        self._texts.append(text)
        self._weights.append(1.0)

    def _add_words(self, text: str) -> None:
        for number, part in enumerate(BREAK.split(text)):
            if number:
                self._breaks.add(len(self._texts))
            self._add(part)

    def _multiply(self, start: int, factor: float) -> None:
        for index in range(start, len(self._weights)):
            self._weights[index] *= factor

    def _remark_on_colon(self, start: int) -> None:
        if len(self._texts) - start > 1 and self._texts[-2] == ":":
            self.remark(f'"{_cut(self._texts[-1].strip())}" is no number, and is read as text')

    def _remark_on_schedule(self, start: int) -> None:
        content = "".join(self._texts[start:])
        if ":" in content or "|" in content:
            self.remark(f"{_quoted(f'[{content}]')} is read as words: no prompt changes by step")

    def result(self) -> ParsedPrompt:
        for bracket, factor in (("(", ROUND), ("[", SQUARE)):
            for start in self._open[bracket]:
                self.remark(f'a "{bracket}" is not closed, and counts to the end')
                self._multiply(start, factor)
        fragments: list[Fragment] = []
        for index, (text, weight) in enumerate(zip(self._texts, self._weights, strict=True)):
            limited, breaks = _limited(weight), index in self._breaks
            if limited != weight:
                self.remark(f"weights within weights are limited to {MAX_WEIGHT:g} together")
            before = fragments[-1] if fragments else None
            if before and before.weight == limited and not breaks:
                fragments[-1] = before._replace(text=before.text + text)
            else:
                fragments.append(Fragment(text, limited, breaks))
        return ParsedPrompt(tuple(fragments), tuple(self._remarks)[:MAX_REMARKS])


def _limited(weight: float) -> float:
    return max(-MAX_WEIGHT, min(MAX_WEIGHT, weight))


def _quoted(text: str) -> str:
    return f'"{_cut(text)}"'


def _cut(text: str) -> str:
    return text if len(text) <= MAX_QUOTED else f"{text[: MAX_QUOTED - 1]}…"
