"""OBS Studio on a virtual screen (Xvfb)."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image as Pillow

PROGRAMS = ("obs", "Xvfb", "import")
SCREEN = ":97"
SETTLE_S = 15

GLOBAL = """
[General]
FirstRun=true
LastVersion=486539266
InfoIncrement=99
EnableAutoUpdates=false
ConfirmOnExit=false
[Basic]
Profile=streamcam
ProfileDir=streamcam
SceneCollection=streamcam
SceneCollectionFile=streamcam
"""
PROFILE = """
[General]
Name=streamcam
[Video]
BaseCX=1280
BaseCY=720
OutputCX=1280
OutputCY=720
FPSType=0
FPSCommon=10
"""


def screenshot(device: str, path: Path, *, home: Path) -> None:
    """Write a screenshot of OBS with the camera `device` in its scene to `path`."""
    _configure(home / ".config" / "obs-studio", device)
    environment = os.environ | {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "DISPLAY": SCREEN,
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "QT_QPA_PLATFORM": "xcb",
    }
    environment.pop("XDG_CONFIG_HOME", None)
    log = home / "obs.log"
    with _running(["Xvfb", SCREEN, "-screen", "0", "1440x900x24"]):
        time.sleep(2)
        choice = ["--collection", "streamcam", "--profile", "streamcam", "--scene", "Scene"]
        command = ["obs", *choice]
        with log.open("wb") as out, _running(command, env=environment, stdout=out) as obs:
            until = time.monotonic() + 120
            while "v4l2-input: Start capture" not in log.read_text(errors="replace"):
                assert obs.poll() is None, log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < until, "OBS never opened the camera"
                time.sleep(0.5)
            time.sleep(SETTLE_S)
            shot = ["import", "-display", SCREEN, "-window", "root", str(path)]
            subprocess.run(shot, check=True, timeout=120)
    with Pillow.open(path) as file:
        screen = file.convert("RGB")
    # OBS chooses the size of its window; around it the screen is black.
    screen.crop(screen.getbbox()).save(path, optimize=True)


def _configure(folder: Path, device: str) -> None:
    camera = {
        "id": "v4l2_input",
        "versioned_id": "v4l2_input",
        "name": "streamcam",
        "enabled": True,
        "settings": {
            "device_id": device,
            "input": 0,
            "pixelformat": -1,
            "standard": -1,
            "dv_timing": -1,
            "resolution": -1,
            "framerate": -1,
        },
    }
    item = {
        "name": "streamcam",
        "id": 1,
        "visible": True,
        "pos": {"x": 0.0, "y": 0.0},
        "scale": {"x": 1.0, "y": 1.0},
        "align": 5,
    }
    scene = {
        "id": "scene",
        "versioned_id": "scene",
        "name": "Scene",
        "enabled": True,
        "settings": {"id_counter": 1, "items": [item]},
    }
    collection = {
        "name": "streamcam",
        "current_scene": "Scene",
        "current_program_scene": "Scene",
        "scene_order": [{"name": "Scene"}],
        "sources": [camera, scene],
    }
    files = {
        "global.ini": GLOBAL,
        "basic/profiles/streamcam/basic.ini": PROFILE,
        "basic/scenes/streamcam.json": json.dumps(collection),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@contextmanager
def _running(command: list[str], **options: object) -> Iterator["subprocess.Popen[bytes]"]:
    settings = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT} | options
    with subprocess.Popen(command, **settings) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
