"""Several devices from the command line: processes with some of the layers each."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch.distributed import FileStore

from streamcam.cli import _run, streamcam
from streamcam.errors import ConfigError, EngineError
from streamcam.pipelines import run_as_rank
from streamcam.settings.config_layers import build_config
from streamcam.video.parallel import rendezvous
from streamcam.video.parallel.layer_loading import LoadedLayers
from streamcam.video.parallel.ranks import RankInfo, rank_info
from tests.runtime.broadcast_helpers import until
from tests.support.media import run_script
from tests.video.video_streams import TINY as STREAMED
from tests.video.video_streams import loaded

TINY = ["--pipeline", "video", "--model", "random:tiny-wan", "--device", "cpu"]
TINY += ["--width", "64", "--height", "32", "--set", "steps=3"]

RENDER = """
    from streamcam.cli import _run, streamcam
    words = {words!r}
    print(_run(lambda **how: streamcam.main(words, **how)))
"""


def render_words(path: Path, devices: int) -> list[str]:
    return ["render", *TINY, "--devices", str(devices), "pattern", "--frames", "25", str(path)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = tmp_path_factory.mktemp("alone") / "1.npy"
    assert _run(lambda **how: streamcam.main(render_words(path, 1), **how)) == 0
    return np.load(path).astype(int)


def test_two_devices_render_what_one_renders(alone: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "2.npy"
    assert run_script(RENDER.format(words=render_words(path, 2)), "").splitlines()[-1] == "0"
    together = np.load(path).astype(int)
    assert alone.shape == together.shape == (25, 32, 64, 3)
    # Batches of other sizes are rounded differently.
    assert np.abs(alone - together).max() <= 1
    assert together[-1].std() > 1


def test_a_device_that_dies_ends_the_engine_and_its_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    script = """
        import os, signal
        import numpy as np
        import psutil
        from streamcam.settings.config_layers import build_config
        from streamcam.errors import EngineError
        from streamcam.pipelines import load_stream
        from streamcam.types import Frame

        config = build_config([{"pipeline": "video", "model": "random:tiny-wan", "device": "cpu",
                         "width": 64, "height": 32, "devices": 2}])
        stream = load_stream(config, lambda line: None)
        image = np.zeros((32, 64, 3), np.uint8)
        try:
            for i in range(60):
                stream(Frame(image, i, i / 30), config.live)
                if i == 20:
                    children = psutil.Process().children()
                    rank, = (c for c in children if "rank_process" in c.cmdline()[-1])
                    rank.kill()
        except EngineError as error:
            print(str(error)[:32])
        os._exit(0)
    """
    assert run_script(script, "") == "a device of the pipeline is gone\n"
    until(lambda: not list(tmp_path.iterdir()), 30)


def test_ranks_started_by_torchrun_render_what_one_process_renders(
    alone: np.ndarray, tmp_path: Path
) -> None:
    words = ["render", *TINY, "pattern", "--frames", "25", str(tmp_path / "2.npy")]
    # Standalone: at a free port, not at the one that everybody's torchrun takes.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "streamcam", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("over 2 devices") == 1
    assert np.abs(alone - np.load(tmp_path / "2.npy").astype(int)).max() <= 1


def own_layers() -> LoadedLayers:
    models = loaded("wan", "wan")
    return LoadedLayers(models.layers.model, (range(2), range(2, 3)), lambda _: [])


@pytest.mark.parametrize(
    ("status", "dead", "message"),
    [
        ("ready", False, r"^the 2 devices of the pipeline have not met in 1 s: \w"),
        ("no such model", False, "^device 1 of the pipeline failed: no such model$"),
        ("", True, "^device 1 of the pipeline failed: it has died$"),
    ],
)
def test_a_device_that_does_not_come_is_not_waited_for(
    status: str, dead: bool, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "RENDEZVOUS_TIMEOUT_S", 1)
    store = FileStore(str(tmp_path / "store"), 2)
    if status:
        store.set("rank/1", status)
    with pytest.raises(EngineError, match=message):
        rendezvous.connect_ring(
            own_layers(), build_config([STREAMED]), RankInfo(0, 2), store, lambda _: dead
        )


def test_torchrun_and_devices_may_not_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "MASTER_ADDR": "a"}.items():
        monkeypatch.setenv(name, str(value))
    config = build_config([STREAMED])
    assert rank_info(config) == RankInfo(1, 2, 1, by_torchrun=True)
    with pytest.raises(ConfigError, match="torchrun has started 2 processes, but devices=3"):
        rank_info(build_config([STREAMED, {"devices": 3}]))
    with pytest.raises(ConfigError, match="without torchrun"):
        run_as_rank(build_config([{}]))
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert rank_info(config) == RankInfo()


@pytest.mark.parametrize(
    ("devices", "message"),
    [("4", "4 devices cannot share 3 transformer blocks"), ("0", "devices:")],
)
def test_too_many_devices_are_refused_in_one_line(
    devices: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["render", *TINY, "--devices", devices, "pattern", "--frames", "5"]
    code = _run(lambda **how: streamcam.main([*words, str(tmp_path / "a.npy")], **how))
    assert code == 2
    assert message in capsys.readouterr().err
