"""``streamcam bench`` on the command line; its figures are tested in tests/bench."""

import json

import pytest

from streamcam.bench import engine_comparison, harness
from streamcam.cli import _run, bench_options, streamcam
from streamcam.embedded_model import NANO

TINY = ["--model", "random:tiny-sd-turbo", "--width", "32", "--height", "32", "--device", "cpu"]


def printed_by(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert _run(lambda **how: streamcam.main(["bench", *words], **how)) == 0
    return capsys.readouterr().out


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_comparison, "ENGINES", {})
    monkeypatch.setattr(engine_comparison, "WARM_S", 0.0)
    monkeypatch.setattr(harness, "SIDE", 64)


@pytest.mark.usefixtures("_quick")
def test_figures_come_with_the_machine_they_were_measured_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["engines", *TINY, "--rounds", "1"]
    figures = json.loads(printed_by(capsys, *words, "--json"))
    assert figures["machine"]["model"] == "random:tiny-sd-turbo"
    assert figures["machine"]["size"] == "32x32"
    names = [row["name"] for row in figures["rows"]]
    assert "eager float32: streamcam" in names
    first, *lines = printed_by(capsys, *words).splitlines()
    assert "model random:tiny-sd-turbo, size 32x32" in first
    assert all(any(name in line for line in lines) for name in names)


def test_nano_is_measured_if_no_model_is_named() -> None:
    config = bench_options.configured_or_nano((), (), {"model": None, "fps": "24"})
    assert (config.model, config.width, config.broadcast.rate) == (NANO, 256, 24)
    assert bench_options.configured_or_nano((), (), {"model": "random:tiny-sd-turbo"}).model != NANO


def test_the_scene_has_the_size_of_the_model_and_moves() -> None:
    first, second, *_ = bench_options.moving_scene(
        bench_options.configured_or_nano((), (), {"width": "64"})
    )
    assert first.shape == second.shape == (256, 64, 3)
    assert (first != second).any()
