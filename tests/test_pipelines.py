"""The pipelines as the setting names them, through ``streamcam render``."""

from pathlib import Path

import pytest

from streamcam.cli import _run, streamcam
from streamcam.pipelines import load_stream
from streamcam.settings.config_layers import build_config
from tests.support.media import noise, read, write

TINY = {"width": 64, "height": 32, "device": "cpu"}


@pytest.mark.parametrize(
    ("settings", "chunk"),
    [
        ({"pipeline": "image", "model": "random:tiny-sd-turbo", "frame_buffer_size": 3}, 3),
        ({"pipeline": "video", "model": "random:tiny-wan", "chunk_latents": 2}, 8),
    ],
)
def test_each_pipeline_has_its_stream(settings: dict[str, object], chunk: int) -> None:
    config = build_config([TINY, settings])
    assert load_stream(config, lambda _: None).chunk == config.chunk == chunk


def test_a_video_is_rendered_by_the_video_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.mkv", noise(11))
    words = ["render", "--pipeline", "video", "--model", "random:tiny-wan"]
    words += ["--width", "64", "--height", "32", "--set", "steps=3"]
    words += [str(tmp_path / "a.mkv"), str(tmp_path / "b.mkv")]
    assert _run(lambda **how: streamcam.main(words, **how)) == 0
    assert "b.mkv: 11 frames" in capsys.readouterr().err
    frames = read(tmp_path / "b.mkv")
    assert [frame.index for frame in frames] == list(range(11))
    assert {frame.image.shape for frame in frames} == {(32, 64, 3)}
