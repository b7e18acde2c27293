"""Engines that installed packages add by entry points, through a distribution on ``sys.path``."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamcam.engines.placement import place
from streamcam.engines.selection import ENGINES, choose_engines
from streamcam.errors import ConfigError, EngineError, StreamcamError
from streamcam.settings.base import literal_values
from streamcam.settings.config import ACCELERATIONS, Config
from streamcam.settings.config_layers import build_config

CPU = torch.device("cpu")
MODULE = """
import torch

class Engine:
    name = "mirror"

    def __init__(self, dtype):
        self.dtype = self.weights_dtype = dtype

def engine(device, dtype):
    from streamcam.errors import EngineError

    if device.type != "cpu":
        raise EngineError(f"mirror runs on CPUs, not on {device.type}; choose --device cpu")
    return Engine(dtype)
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that puts the package ``mirror`` with an engine of `name` on the path."""

    def installed(name: str = "mirror", module: str = MODULE) -> None:
        info = tmp_path / "mirror_engine-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mirror-engine\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(
            f"[streamcam.engines]\n{name} = mirror_engine:engine\n"
        )
        (tmp_path / "mirror_engine.py").write_text(module)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "mirror_engine", raising=False)

    return installed


def test_the_words_of_the_setting_are_the_engines_of_the_table() -> None:
    assert set(ACCELERATIONS) == {"auto", "eager", "graph", *ENGINES}
    assert literal_values(Config.model_fields["acceleration"]) == ACCELERATIONS


def test_an_installed_engine_is_chosen_by_its_name(install: Install) -> None:
    install()
    config = build_config([{"acceleration": "mirror", "device": "cpu", "dtype": "float32"}])
    placement = place(config)
    assert [engine.name for engine in placement.choice.engines] == ["mirror"]
    reason = "mirror, as asked, from an installed package"
    assert str(placement) == f"running on cpu in float32: {reason}"
    assert placement.weights_dtype == torch.float32
    # As the process that builds engines gets it.
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_an_installed_engine_is_not_imported_unless_it_is_asked_for(install: Install) -> None:
    install(module="raise RuntimeError('imported')")
    assert choose_engines("eager", CPU, torch.float32).engines == ()
    assert choose_engines("auto", CPU, torch.float32).name in ACCELERATIONS
    assert "mirror_engine" not in sys.modules


def test_an_installed_engine_says_why_it_cannot_run(install: Install) -> None:
    install()
    with pytest.raises(EngineError, match="mirror runs on CPUs, not on mps; choose --device cpu"):
        choose_engines("mirror", torch.device("mps"), torch.float32)


def test_a_broken_package_is_named(install: Install) -> None:
    install(module="import no_such_library")
    with pytest.raises(StreamcamError, match=r"mirror-engine 1\.2 .*no_such_library"):
        choose_engines("mirror", CPU, torch.float32)


def test_a_built_in_engine_wins_over_an_installed_one_and_says_so(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("compiled", module="raise RuntimeError('imported')")
    monkeypatch.setattr("shutil.which", lambda name: name)
    chosen = choose_engines("compiled", CPU, torch.float32)
    assert [type(engine).__module__ for engine in chosen.engines] == ["streamcam.engines.compiled"]
    assert chosen.reason == (
        "compiled, as asked; an installed package has an engine of that name too, which is not used"
    )


def test_an_unknown_engine_is_refused_with_all_that_are_there(install: Install) -> None:
    install()
    with pytest.raises(ConfigError) as refused:
        build_config([{"acceleration": "miror"}])
    assert str(refused.value) == (
        "acceleration: must be one of auto, eager, graph, compiled, openvino, tensorrt,"
        " tensorrt-rtx, mirror (did you mean \"mirror\"?), got 'miror'"
    )
    with pytest.raises(ConfigError, match=r"one of auto, .*, mirror, got 'zzz'"):
        build_config([{"acceleration": "zzz"}])
