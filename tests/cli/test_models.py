"""``streamcam models`` against a hub over real HTTP, then offline runs from the cache."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.hubs import COMMIT, Hub
from tests.support.layouts import edit_json
from tests.support.loras import RANK, UNET_QUERY, pair, save_kohya
from tests.support.single_files import save_single_file

UNET = "unet/diffusion_pytorch_model.safetensors"
EAGER = ["--acceleration", "eager", "--dtype", "float32"]
HALF = ["--acceleration", "eager", "--dtype", "bfloat16"]
PULL = ["models", "pull", "demo/tiny", "--vae", "demo/taesd", *EAGER]
RENDER = ["render", "--width", "64", "--height", "64", "--frames", "2", "pattern"]
RENDER += EAGER
DRIVER = """
import contextlib, io, json, sys
from streamcam import cli
for args in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli._run(lambda args=args, **options: cli.streamcam.main(args, **options))
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


class Result(NamedTuple):
    """Exit code and output of one command line."""

    code: int
    out: str
    err: str


def run(home: Path, hub: Hub, *commands: list[str]) -> list[Result]:
    """Run command lines in one new process with its own cache."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
        "TQDM_POSITION": "-1",  # Shows the bars although stderr is no terminal.
    }
    environment.pop("HF_HUB_OFFLINE", None)
    result = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(commands),
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [Result(*json.loads(line)) for line in result.stdout.splitlines()]


class Downloads(NamedTuple):
    """Cache, hub and results after the downloads."""

    home: Path
    hub: Hub
    results: dict[str, Result]


def publish(root: Path, model_folder: Callable[[str], Path]) -> dict[str, Path]:
    """Return the models of the hub by name: valid ones, and ones that cannot run."""
    models = {
        "demo/tiny": Path(shutil.copytree(model_folder("sd-turbo"), root / "tiny")),
        "demo/dream": Path(shutil.copytree(model_folder("sd-1.5"), root / "dream")),
        "demo/halves": Path(shutil.copytree(model_folder("sd-turbo"), root / "halves")),
        "demo/pickled": Path(shutil.copytree(model_folder("sd-1.5"), root / "pickled")),
        "demo/flux": Path(shutil.copytree(model_folder("sd-1.5"), root / "flux")),
        "demo/gated": model_folder("sd-1.5"),
        "demo/taesd": model_folder("taesd"),
        "demo/lcm": root / "lcm",
        "demo/style": root / "style",
    }
    # huggingface_hub keeps a partial download in steps of 10 MB.
    padded = load_file(models["demo/tiny"] / UNET) | {"padding": torch.zeros(7_500_000)}
    save_file(padded, models["demo/tiny"] / UNET)
    for name in ("demo/tiny", "demo/halves"):
        for file in [*models[name].glob("*/*.safetensors")]:
            shutil.copy(file, file.with_suffix(".fp16.safetensors"))
    save_single_file(model_folder("sd-1.5"), root / "one.safetensors")
    (models["demo/pickled"] / UNET).rename((models["demo/pickled"] / UNET).with_suffix(".bin"))
    edit_json(models["demo/flux"] / "model_index.json", _class_name="FluxPipeline")
    checker = models["demo/dream"] / "safety_checker"
    checker.mkdir()
    (checker / "model.safetensors").touch()
    edit_json(
        models["demo/dream"] / "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
    )
    shape = padded[f"{UNET_QUERY}.weight"].shape
    for name, file in (("lcm", "pytorch_lora_weights"), ("style", "neon")):
        (root / name).mkdir()
        path = root / name / f"{file}.safetensors"
        save_kohya(path, {UNET_QUERY: pair(shape)}, alpha=RANK)
    return models


@pytest.fixture(scope="module")
def fetched(
    model_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Downloads]:
    """A cache filled by command lines, while the hub fails sometimes."""
    root = tmp_path_factory.mktemp("hub")
    dream = ["models", "pull", "demo/dream", "--vae", "demo/taesd"]
    lcm = ["--set", "lcm_lora_id=demo/lcm"]
    described = [*lcm, "--vae", "demo/taesd", "--set", "single_file_config=demo/dream"]
    sessions: dict[str, list[str]] = {
        "unknown": ["models", "pull", "demo/nothing"],
        "gated": ["models", "pull", "demo/gated"],
        "flux": ["models", "pull", "demo/flux"],
        "pickled": ["models", "pull", "demo/pickled"],
        "not a model": ["models", "pull", "demo/taesd"],
        "broken": PULL,
        "cut": PULL,
        "again": PULL,
        "unnamed LoRA": [*dream, "--lora", "demo/style", "--set", "use_lcm_lora=false"],
        "LoRAs": [*dream, "--lora", "demo/style/neon.safetensors:0.5", *lcm],
        "halves": ["models", "pull", "demo/halves", "--vae", "demo/taesd", *HALF],
        "one file": ["models", "pull", str(root / "one.safetensors"), *described],
        "list": ["models", "list"],
        "path": ["models", "path", "demo/tiny"],
        "no path": ["models", "path", "demo/nothing"],
        "no name": ["models", "path", "nanoo"],
        "own path": ["models", "path", "nano"],
        "local path": ["models", "path", str(root)],
    }
    with Hub(publish(root, model_folder)) as hub:
        hub.gated.add("demo/gated")
        hub.broken.add(f"demo/tiny/{UNET}")
        hub.cut.add(f"demo/tiny/{UNET}")
        results = run(root / "home", hub, *sessions.values())
        yield Downloads(root / "home", hub, dict(zip(sessions, results, strict=True)))


def error_line(result: Result) -> str:
    """Return the one-line error of a command that failed."""
    assert result.code == 1
    line = result.err.strip().splitlines()[-1]
    assert line.startswith("streamcam: ")
    assert "Traceback" not in result.err
    return line


def test_pull_fetches_the_model_and_its_autoencoder(fetched: Downloads) -> None:
    result = fetched.results["cut"]
    assert result.code == 0
    assert result.out.splitlines() == [
        "model demo/tiny: SD 2.x, predicts the noise (epsilon)",
        "this model is made for few steps, so it needs no LCM-LoRA",
        "demo/tiny is ready",
    ]
    assert "demo/taesd/diffusion_pytorch_model.safetensors" in fetched.hub.downloads()


def test_pull_shows_only_the_progress_of_downloads(fetched: Downloads) -> None:
    progress = fetched.results["cut"].err
    assert "100%" in progress
    assert "B/s" in progress or "MB" in progress
    assert "pipeline components" not in progress
    assert "Loading weights" not in progress


def test_an_interrupted_download_continues_where_it_stopped(fetched: Downloads) -> None:
    assert fetched.hub.ranges() == ["bytes=10485760-"]


def test_a_failed_download_suggests_to_try_again_and_keeps_complete_files(
    fetched: Downloads,
) -> None:
    line = error_line(fetched.results["broken"])
    assert "no model demo/tiny" in line
    assert "try again: whole files are kept" in line
    assert fetched.hub.downloads().count("demo/tiny/text_encoder/model.safetensors") == 1


def test_complete_files_are_not_fetched_again(fetched: Downloads) -> None:
    assert fetched.results["again"].code == 0
    assert fetched.hub.downloads().count(f"demo/tiny/{UNET}") == 3  # Broken, cut, resumed.
    assert fetched.hub.downloads().count("demo/taesd/diffusion_pytorch_model.safetensors") == 1


def test_half_precision_files_are_not_fetched_for_float32(fetched: Downloads) -> None:
    assert not [file for file in fetched.hub.downloads() if "tiny" in file and ".fp16." in file]


def test_only_half_precision_files_are_fetched_for_bfloat16(fetched: Downloads) -> None:
    assert fetched.results["halves"].code == 0
    weights = [f for f in fetched.hub.downloads() if "halves" in f and f.endswith(".safetensors")]
    assert len(weights) == 3
    assert all(".fp16." in file for file in weights)


def test_the_config_of_a_single_file_comes_from_the_hub(fetched: Downloads) -> None:
    result = fetched.results["one file"]
    assert result.code == 0, result.err
    expected = "one.safetensors has no config of its own: read as demo/dream describes it"
    assert expected in result.out


def test_the_safety_checker_is_not_fetched(fetched: Downloads) -> None:
    assert not [file for file in fetched.hub.downloads() if "safety_checker" in file]


def test_pull_fetches_loras_and_the_lcm_lora(fetched: Downloads) -> None:
    result = fetched.results["LoRAs"]
    assert result.code == 0
    assert "LCM-LoRA demo/lcm, since the model is not made for few steps" in result.out
    assert "LoRA demo/style/neon.safetensors, scale 0.5" in result.out
    downloads = fetched.hub.downloads()
    assert "demo/lcm/pytorch_lora_weights.safetensors" in downloads
    assert "demo/style/neon.safetensors" in downloads


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown", "no model demo/nothing: no folder here, and the hub has none of that name"),
        ("gated", "accept its terms on its page"),
        ("flux", "demo/flux is a FluxPipeline"),
        ("pickled", "choose one with .safetensors"),
        ("not a model", "has no model_index.json"),
        ("unnamed LoRA", "name its LoRA as demo/style/FILE.safetensors"),
        ("no name", 'no model "nanoo": no file or folder here, nor a hub id'),
        ("no path", 'fetch it with "streamcam models pull demo/nothing"'),
    ],
)
def test_a_model_that_cannot_be_fetched_is_explained_in_one_line(
    fetched: Downloads, name: str, message: str
) -> None:
    assert message in error_line(fetched.results[name])


def test_a_model_that_cannot_run_is_refused_before_its_weights_are_fetched(
    fetched: Downloads,
) -> None:
    downloads = fetched.hub.downloads()
    assert [file for file in downloads if "flux" in file] == ["demo/flux/model_index.json"]


def test_list_shows_the_models_in_the_cache(fetched: Downloads) -> None:
    listed = [line.split()[-1] for line in fetched.results["list"].out.splitlines()]
    assert {"nano", "demo/tiny", "demo/taesd", "demo/dream", "demo/lcm", "demo/style"} <= set(
        listed
    )


def test_path_prints_the_folder(fetched: Downloads) -> None:
    folder = Path(fetched.results["path"].out.strip())
    assert (folder / "model_index.json").is_file()
    assert folder.name == COMMIT


def test_path_prints_the_folder_of_the_model_that_comes_with_streamcam(fetched: Downloads) -> None:
    own = Path(fetched.results["own path"].out.strip())
    assert (own / "model_index.json").is_file()
    assert fetched.results["local path"].out.strip() == str(fetched.home.parent)


@pytest.fixture(scope="module")
def offline(fetched: Downloads) -> tuple[dict[str, Result], list[Any], Path]:
    """Results of offline command lines, and the requests that reached the hub meanwhile."""
    out = fetched.home.parent
    loras = ["--lora", "demo/style/neon.safetensors", "--set", "lcm_lora_id=demo/lcm"]
    described = ["--set", "single_file_config=demo/dream"]
    models = {
        "tiny": ["demo/tiny", "--vae", "demo/taesd"],
        "halved": ["demo/tiny", "--vae", "demo/taesd", "--dtype", "bfloat16"],
        "dream": ["demo/dream", "--vae", "demo/taesd", *loras],
        "wholes": ["demo/halves", "--vae", "demo/taesd"],
        "one": [str(out / "one.safetensors"), "--vae", "demo/taesd", *loras, *described],
        "no model": ["demo/nothing", "--vae", "demo/taesd"],
        "no vae": ["demo/tiny"],
        "no lora": ["demo/tiny", "--vae", "demo/taesd", "--lora", "demo/other"],
    }
    before, fetched.hub.requests = fetched.hub.requests, []
    commands = [
        [*RENDER, str(out / f"{name}.npy"), "--offline", "--model", *model]
        for name, model in models.items()
    ]
    results = run(fetched.home, fetched.hub, *commands)
    requests, fetched.hub.requests = fetched.hub.requests, before
    return dict(zip(models, results, strict=True)), requests, out


@pytest.mark.parametrize("name", ["tiny", "halved", "wholes", "dream", "one"])
def test_offline_runs_from_the_cache(
    offline: tuple[dict[str, Result], list[Any], Path], name: str
) -> None:
    results, _, out = offline
    assert results[name].code == 0, results[name].err
    assert np.load(out / f"{name}.npy").shape == (2, 64, 64, 3)


def test_offline_sends_no_request_to_the_hub(
    offline: tuple[dict[str, Result], list[Any], Path],
) -> None:
    assert offline[1] == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no model", '"streamcam models pull demo/nothing"'),
        ("no vae", "--vae full"),
        ("no lora", "no model demo/other: no folder here, not in the cache, and offline"),
    ],
)
def test_a_model_that_is_not_cached_is_refused_offline(
    offline: tuple[dict[str, Result], list[Any], Path], name: str, message: str
) -> None:
    assert message in error_line(offline[0][name])


def test_cached_models_run_without_a_reachable_hub(fetched: Downloads, tmp_path: Path) -> None:
    unreachable = Hub({})
    unreachable.close()
    output = tmp_path / "tiny.npy"
    cached, missing = run(
        fetched.home,
        unreachable,
        [*RENDER, str(output), "--model", "demo/tiny", "--vae", "demo/taesd"],
        ["models", "pull", "demo/nothing"],
    )
    assert cached.code == 0, cached.err
    assert np.load(output).shape == (2, 64, 64, 3)
    assert "not in the cache, and the hub cannot be reached; connect once" in error_line(missing)


def test_an_empty_cache_is_listed_with_the_command_to_fill_it(tmp_path: Path) -> None:
    unreachable = Hub({})
    unreachable.close()
    listed, pulled = run(tmp_path, unreachable, ["models", "list"], ["models", "pull"])
    assert listed.code == 0
    assert "streamcam models pull stabilityai/sd-turbo" in listed.out
    assert listed.out.splitlines()[0].endswith(" GB  nano")
    assert pulled.code == 2
    assert "name a model, such as stabilityai/sd-turbo, or a --config" in pulled.err
