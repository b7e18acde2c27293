"""``streamcam bench video``, and errors of the command line about video models and engines."""

import json

import pytest

from streamcam.cli import _run, streamcam
from tests.support.media import run_script

TINY = ["--model", "random:tiny-wan", "--width", "64", "--height", "32", "--device", "cpu"]


def run_cli(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = _run(lambda **how: streamcam.main(list(words), **how))
    out, err = capsys.readouterr()
    return code, out, err


def test_it_measures_rate_stages_first_output_and_misses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*TINY, "--set", "steps=1", "--set", "deadline=60", "--seconds", "1", "--json"]
    code, out, err = run_cli(capsys, "bench", "video", *words)
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


def test_several_devices_have_a_result_each() -> None:
    script = """
        from streamcam.cli import _run, streamcam
        words = {words!r}
        print(_run(lambda **how: streamcam.main(words, **how)))
    """
    words = ["bench", "video", *TINY, "--devices", "2", "--set", "deadline=60", "--seconds", "1"]
    *_, printed, code = run_script(script.format(words=[*words, "--json"]), "").splitlines()
    assert code == "0"
    figures = json.loads(printed)["figures"]
    first, second = figures["ranks"]
    assert first["layers"] + second["layers"] == 3
    assert first["fixed_ms"] > 0 == second["fixed_ms"]
    for rank in (first, second):
        assert rank["layers_ms"] > 0
        assert rank["waiting_ms"] >= 0
        assert rank["memory"] > 1e6


def test_it_refuses_the_image_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_cli(capsys, "bench", "video", "--pipeline", "image", "--model", "nano")
    assert code == 2
    assert "bench pipeline measures the other" in err


def test_engines_build_refuses_the_video_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_cli(capsys, "engines", "build", "--pipeline", "video", *TINY)
    assert code == 1
    assert "pipeline=video uses no engines" in err
    assert err.count("\n") == 1
