"""``streamcam bench video``, and what the command line says of video models and engines."""

import json

import pytest

from streamcam.cli import _run, streamcam
from tests.support.media import ran

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
    assert figures["ranks"] == []


def test_the_bench_of_several_devices_tells_what_each_of_them_does() -> None:
    script = """
        from streamcam.cli import _run, streamcam
        words = {words!r}
        print(_run(lambda **how: streamcam.main(words, **how)))
    """
    words = ["bench", "video", *TINY, "--devices", "2", "--set", "deadline=60", "--seconds", "1"]
    *_, told, code = ran(script.format(words=[*words, "--json"]), "").splitlines()
    assert code == "0"
    figures = json.loads(told)["figures"]
    first, second = figures["ranks"]
    assert first["layers"] + second["layers"] == 3
    assert first["fixed_ms"] > 0 == second["fixed_ms"]
    for own in (first, second):
        assert own["layers_ms"] > 0
        assert own["waiting_ms"] >= 0
        assert own["memory"] > 1e6


def test_the_bench_of_video_measures_no_images(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "bench", "video", "--pipeline", "image", "--model", "nano")
    assert code == 2
    assert "bench pipeline measures the other" in err


def test_there_are_no_engines_to_build_for_video(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "engines", "build", "--pipeline", "video", *TINY)
    assert code == 1
    assert "pipeline=video uses no engines" in err
    assert err.count("\n") == 1
