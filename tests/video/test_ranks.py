"""Several devices from the command line: processes with a share of the layers each."""

from pathlib import Path

import numpy as np
import pytest

from streamcam.cli import _run, streamcam
from tests.media import ran

TINY = ["--pipeline", "video", "--model", "random:tiny-wan", "--device", "cpu"]
TINY += ["--width", "64", "--height", "32", "--set", "steps=3"]

RENDER = """
    from streamcam.cli import _run, streamcam
    words = {words!r}
    print(_run(lambda **how: streamcam.main(words, **how)))
"""


def rendered(path: Path, devices: int) -> np.ndarray:
    words = ["render", *TINY, "--devices", str(devices), "pattern", "--frames", "25", str(path)]
    assert ran(RENDER.format(words=words), "").splitlines()[-1] == "0"
    return np.load(path).astype(int)


def test_two_devices_render_what_one_renders(tmp_path: Path) -> None:
    alone, together = (rendered(tmp_path / f"{n}.npy", n) for n in (1, 2))
    assert alone.shape == together.shape == (25, 32, 64, 3)
    # Rows that run in another company are rounded otherwise.
    assert np.abs(alone - together).max() <= 1
    assert together[-1].std() > 1


def test_a_device_that_dies_is_the_loss_of_the_engine() -> None:
    script = """
        import os, signal
        import numpy as np
        import psutil
        from streamcam.config import build
        from streamcam.errors import EngineError
        from streamcam.runtime.streams import load_stream
        from streamcam.types import Frame

        config = build([{"pipeline": "video", "model": "random:tiny-wan", "device": "cpu",
                         "width": 64, "height": 32, "devices": 2}])
        stream = load_stream(config, lambda line: None)
        image = np.zeros((32, 64, 3), np.uint8)
        try:
            for i in range(60):
                stream(Frame(image, i, i / 30), config.live)
                if i == 20:
                    psutil.Process().children()[0].kill()
        except EngineError as error:
            print(str(error)[:32])
        os._exit(0)
    """
    assert ran(script, "") == "a device of the pipeline is gone\n"


@pytest.mark.parametrize(
    ("devices", "why"), [("4", "4 devices cannot share 3 transformer blocks"), ("0", "devices:")]
)
def test_devices_that_cannot_be_had_are_refused_in_a_line(
    devices: str, why: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["render", *TINY, "--devices", devices, "pattern", "--frames", "5"]
    code = _run(lambda **how: streamcam.main([*words, str(tmp_path / "a.npy")], **how))
    assert code == 2
    assert why in capsys.readouterr().err
