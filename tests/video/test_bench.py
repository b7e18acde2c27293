"""``streamcam bench video``, and what the command line says of video models and engines."""

import json

import pytest

from streamcam.cli import _run, streamcam

TINY = ["--model", "random:tiny-wan", "--width", "64", "--height", "32", "--device", "cpu"]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = _run(lambda **how: streamcam.main(list(words), **how))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_bench_tells_rate_stages_first_picture_and_misses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*TINY, "--set", "steps=1", "--set", "deadline=60", "--seconds", "1", "--json"]
    code, out, err = said(capsys, "bench", "video", *words)
    assert code == 0, err
    figures = json.loads(out)["figures"]
    assert figures["fps"] > 0
    assert set(figures["stages_ms"]) == {"encode", "layers", "decode"}
    assert 0 < sum(figures["stages_ms"].values()) < 3 * figures["chunk_ms"]
    assert figures["first_picture_s"] >= 4 / 30  # The camera's time for five frames.
    assert figures["delivered"] > 0
    assert figures["misses"] == 0
    assert figures["memory"] > 1e6


def test_the_bench_of_video_measures_no_images(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "bench", "video", "--pipeline", "image", "--model", "nano")
    assert code == 2
    assert "bench pipeline measures the other" in err


def test_there_are_no_engines_to_build_for_video(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "engines", "build", "--pipeline", "video", *TINY)
    assert code == 1
    assert "pipeline=video uses no engines" in err
    assert err.count("\n") == 1
