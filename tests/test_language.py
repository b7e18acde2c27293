"""Names and docs stay in the field's plain words: a list of those that must not come back."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("streamcam", "benchmarks", "tests")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
OURS = [path for path in MODULES if path.parts[len(ROOT.parts)] != "tests"]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]

NAMES = {
    "Ticket": "PendingFrame",
    "Landing": "PendingDownload",
    "Plan": "StepPlan",
    "FramePath": "FrameTransfer",
    "Lanes": "CopyStreams",
    "Workshop": "EngineBuilder",
    "Order": "BuildRequest",
    "Contender": "Candidate",
    "Standing": "Result",
    "Said": "EngineMessage",
    "Ring": "FrameRing or LayerRing",
    "Desk": "Switcher",
    "Feeds": "Inputs",
    "Outlet": "SinkThread",
    "Draft": "Transaction",
    "Gate": "AllowList",
    "Buckets": "RateLimiter",
    "Found": "CameraInfo",
    "Wish": "CameraMode",
    "Stillness": "FreezeDetector",
    "Guard": "HostCheck",
    "Courier": "Transport",
    "Remember": "MemBlock",
    "Pool": "TPool",
    "Grow": "TGrow",
    "bells": "wakeups",
    "notes": "metadata",
    "parcel": "payload",
    "say": "report or log",
    "told": "a word for what was passed",
    "beside": "a word for what it is next to",
    "anew": "again",
    "verdict": "timings",
    "hand_over": "migration",
    "followers": "launcher",
    "slo": "scheduler",
    "_sow": "_reseed",
    "_like_the_last": "a name that says it",
}
"""Names that sent every reader to the docstring, and what took their place."""

OPENINGS = ("What", "Who", "How", "Where", "Which", "Why")
"""A docstring that opens with one of these says what a thing is about, not what it does."""

PROSE = (
    r"\banew\b",
    r"\bthe house\b",
    r"\bthe desk\b",
    r"\bnumber formats?\b",
    r"\bbeside the picture\b",
    r"\bon its way\b",
    r"\bis told\b",
    r"\btells of\b",
    r"\bby itself alone\b",
)
"""Turns of phrase that make a reader stumble: again, streamcam, the switcher, dtype, …"""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def names(text: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.string


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_private_word_names_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if not set(re.findall(r"\w+", text)) & set(NAMES):
        return
    used = set(names(text)) & set(NAMES)  # Not in strings and comments.
    assert not used, "; ".join(f"{name}: call it {NAMES[name]}" for name in sorted(used))


@pytest.mark.parametrize("path", OURS, ids=relative)
def test_docstrings_say_what_a_thing_does(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module begins with a line that says what it is"
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, nodes) and (doc := ast.get_docstring(node)):
            assert doc.split()[0] not in OPENINGS, doc.splitlines()[0]


@pytest.mark.parametrize("path", [*OURS, *PAGES], ids=relative)
def test_prose_is_plain(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for phrase in PROSE:
        found = re.search(phrase, text, re.IGNORECASE)
        assert not found, f"line {text[: found.start()].count(chr(10)) + 1}: {found[0]}"


def test_a_basename_stands_for_one_module() -> None:
    count = Counter(path.name for path in OURS if not path.name.startswith("__"))
    assert [name for name, times in count.items() if times > 1] == []
