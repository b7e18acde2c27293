"""Texts are encoded by another process, which may fail or die without harm."""

import json
import os
import sys
from pathlib import Path
from queue import Queue

import pytest
import torch

from streamcam.diffusion import text_process
from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.stages import Text
from streamcam.diffusion.text_process import TextProcess
from streamcam.errors import ModelError, StreamcamError
from streamcam.settings.config import Config
from tests.runtime.broadcast_helpers import until

CONFIG = Config(model="nano", device="cpu", dtype="float32", acceleration="eager")


def test_texts_are_answered_in_order_and_another_process_follows_one_that_died() -> None:
    answers: Queue[tuple[str, Text | ModelError]] = Queue()
    process = TextProcess(
        CONFIG, lambda *answer: answers.put(answer), "tests.support.text_answers:serve"
    )
    for text in ("ink", "", "öl"):
        process.encode(text)
    (first, ink), (_, died), (last, oil) = (answers.get(timeout=60) for _ in range(3))
    assert (first, last) == ("ink", "öl")
    assert isinstance(ink, Text)
    assert isinstance(oil, Text)
    assert float(ink.prompt_embeds.mean()) == 3.0
    assert ink.dropped_tokens == 2
    assert float(oil.prompt_embeds.mean()) == 2.0
    assert isinstance(died, ModelError)
    assert str(died) == "the process that encodes texts ended with status 3"


@pytest.mark.parametrize("main", ["tests.support.text_answers:serve", "no.such:main"])
def test_it_says_when_it_has_loaded_and_when_it_never_will(main: str) -> None:
    process = TextProcess(CONFIG, lambda *_: None, main)
    assert not process.is_loaded
    process.start()
    until(lambda: process.is_loaded)


@pytest.mark.parametrize("error", [StreamcamError("no room"), RuntimeError("a bug")])
def test_a_text_is_answered_whatever_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    answers: Queue[tuple[str, Text | ModelError]] = Queue()

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(text_process, "start_child", fail)
    process = TextProcess(CONFIG, lambda *answer: answers.put(answer))
    for text in ("ink", "oil"):
        process.encode(text)
        answered, result = answers.get(timeout=10)
        assert answered == text
        assert isinstance(result, ModelError)
        assert str(error) in str(result)


def served(
    lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, object]]:
    """Return what the child process answers to `lines`; libraries may print meanwhile."""
    answers = (tmp_path / "answers").open("w+")
    monkeypatch.setattr(text_process.os, "dup", lambda _: os.open(answers.name, os.O_WRONLY))
    monkeypatch.setattr(text_process.os, "dup2", lambda *_: None)
    monkeypatch.setattr(text_process.os, "nice", lambda _: None, raising=False)
    monkeypatch.setattr(text_process, "prefer_as_oom_victim", lambda _: None)
    monkeypatch.setattr(text_process, "end_with_parent", lambda read, status: read())  # noqa: ARG005
    (tmp_path / "lines").write_text("".join(f"{line}\n" for line in lines))
    with (tmp_path / "lines").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        text_process.serve()
    return [json.loads(line) for line in answers]


@pytest.mark.parametrize("settings", [{}, {"prompt_syntax": "weighted", "prompt_chunks": 2}])
def test_the_process_gives_what_the_model_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    config = CONFIG.model_copy(update=settings)
    texts = ("oil", "a " * 100, "like Van Gogh, starry", "(oil:1.4), (ink:x) BREAK neon")
    lines = [config.model_dump_json(), *map(json.dumps, texts)]
    answers = served(lines, tmp_path, monkeypatch)
    encode = load_image_model(config, lambda _: None).encode_text
    for text, answer in zip(texts, answers, strict=True):
        with torch.inference_mode():
            expected = encode(text)
        encoded = text_process.decoded(answer)
        torch.testing.assert_close(encoded.prompt_embeds, expected.prompt_embeds)
        assert encoded[2:] == expected[2:]


def test_a_model_that_cannot_be_loaded_is_the_answer_to_each_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = CONFIG.model_copy(update={"model": str(tmp_path / "gone")})
    answers = served([missing.model_dump_json(), '"oil"', '"ink"'], tmp_path, monkeypatch)
    assert len(answers) == 2
    assert all("no model" in str(answer["error"]) for answer in answers)
