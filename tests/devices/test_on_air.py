"""Camera, engine and virtual camera together, seen from a program that reads the latter."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamcam import v4l2
from streamcam.runtime.slate import BACKGROUND
from streamcam.sources import frame_code
from tests.devices.onair import (
    FPS,
    HEIGHT,
    MARGIN_S,
    MODEL,
    WIDTH,
    Reader,
    Run,
    no_visible_gap,
    running,
    until,
)
from tests.devices.onair import virtual_camera as node

pytestmark = pytest.mark.skipif(
    not any(device.is_loopback for device in v4l2.devices()), reason="no v4l2loopback device"
)
PATTERN = ["--source", "pattern"]
USB_PID = Path("/run/usb-camera.pid")


@contextmanager
def watched(*arguments: str) -> Iterator[tuple[Run, Reader]]:
    """Run streamcam and, once it is on air, read its virtual camera."""
    with running(*arguments) as run:
        run.wait_for("on air")
        with Reader(node()) as reader:
            yield run, reader


def brightness(reader: Reader) -> float:
    return float(reader.image().mean())


def test_the_index_and_age_of_frames_are_read_from_the_virtual_camera() -> None:
    with watched(*PATTERN, *MODEL) as (run, reader):
        run.wait_for("the engine is running")
        until(reader.code, 20)
        seen = []
        for _ in range(30):
            reader.wait(1)
            if code := reader.code():
                seen.append((code[0], time.monotonic() - code[1]))
        numbers = [number for number, _ in seen]
        assert len(seen) > 20
        assert numbers == sorted(numbers)
        assert len(set(numbers)) > 10
        assert float(np.median([age for _, age in seen])) < 3 / FPS


def test_ffmpeg_and_opencv_read_the_virtual_camera_too() -> None:
    with running(*PATTERN, "--model", "passthrough") as run:
        run.wait_for("on air")
        with Reader(node()) as reader:
            until(reader.code, 20)
        words = ["ffmpeg", "-v", "error", "-f", "v4l2", "-i", str(node()), "-frames:v", "3"]
        raw = subprocess.run(
            [*words, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        frames = np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
        assert frame_code.read(frames[-1].copy())
        capture = cv2.VideoCapture(str(node()), cv2.CAP_V4L2)
        read, image = capture.read()
        capture.release()
        assert read
        assert image is not None
        assert frame_code.read(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))  # type: ignore[arg-type]


def test_a_reader_sees_the_output_of_the_readme_s_example() -> None:
    readme = Path(__file__).resolve().parents[2] / "README.md"
    [example] = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    capture = ["v4l2-ctl", "-d", str(node()), "--stream-mmap", "--stream-count=3"]

    def captured() -> bool:
        return subprocess.run(capture, capture_output=True, check=False, timeout=60).returncode == 0

    program = subprocess.Popen([sys.executable, "-c", example])
    try:
        until(captured, 120)
        assert program.poll() is None
    finally:
        program.kill()
        program.wait()


@pytest.mark.parametrize("how", ["kill", "suspend"])
def test_a_reader_sees_no_gap_when_the_engine_is_lost(how: str) -> None:
    with watched(*PATTERN, *MODEL, "--set", "engine_deadline=1") as (run, reader):
        run.wait_for("the engine is running")
        until(reader.code, 20)
        with no_visible_gap(reader):
            getattr(run.engine(), how)()
            run.wait_for("starting another engine")
            until(lambda: sum("the engine is running" in line for line in run.log) == 2, 60)
            reader.wait(FPS)


@pytest.mark.skipif(not shutil.which("oscsend"), reason="oscsend is not installed (liblo-tools)")
def test_oscsend_changes_what_is_on_air_without_a_gap(tmp_path: Path) -> None:
    out = tmp_path / "show.mkv"
    with watched(*PATTERN, *MODEL, "--sink", f"recorder:{out}") as (run, reader):
        run.wait_for("the engine is running")
        until(reader.code, 20)
        with no_visible_gap(reader):
            oscsend(run, "/streamcam/prompt", "s", "neon cats")
            oscsend(run, "/streamcam/guidance_scale", "f", "99")
            oscsend(run, "/streamcam/blackout", "T")
            until(lambda: brightness(reader) < 2, 5)
            oscsend(run, "/streamcam/blackout", "F")
            until(lambda: brightness(reader) > 20, 5)
    cues = out.with_suffix(".cues.jsonl").read_text()
    assert '"neon cats"' in cues
    assert '"guidance_scale": 30.0' in cues


def oscsend(run: Run, address: str, types: str, *values: str) -> None:
    subprocess.run(["oscsend", "localhost", str(run.osc_port), address, types, *values], check=True)


@pytest.mark.skipif(not shutil.which("pd"), reason="Pure Data is not installed (puredata-core)")
def test_pure_data_changes_what_is_on_air(tmp_path: Path) -> None:
    with watched(*PATTERN, "--model", "passthrough") as (run, reader):
        until(reader.code, 20)
        patch = tmp_path / "blackout.pd"
        patch.write_text(
            "#N canvas 0 0 400 300 10;\n"
            "#X obj 20 20 loadbang;\n"
            f"#X msg 20 50 connect localhost {run.osc_port};\n"
            "#X obj 20 200 netsend -u -b;\n"
            "#X obj 120 20 delay 500;\n"
            "#X msg 120 50 1;\n"
            "#X obj 120 100 oscformat streamcam blackout;\n"
            "#X obj 120 130 list prepend send;\n"
            "#X obj 120 180 list trim;\n"
            "#X connect 0 0 1 0;\n#X connect 1 0 2 0;\n#X connect 0 0 3 0;\n"
            "#X connect 3 0 4 0;\n#X connect 4 0 5 0;\n#X connect 5 0 6 0;\n"
            "#X connect 6 0 7 0;\n#X connect 7 0 2 0;\n"
        )
        pd = subprocess.Popen(["pd", "-nogui", "-noaudio", str(patch)])
        try:
            until(lambda: brightness(reader) < 2, 20)
        finally:
            pd.kill()
            pd.wait()


def test_streamcam_starts_again_while_a_reader_stays() -> None:
    with running(*PATTERN, "--model", "passthrough") as first:
        first.wait_for("on air")
        with Reader(node()) as reader:
            until(reader.code, 20)
            first.stop()
            with running(*PATTERN, "--model", "passthrough") as again:
                again.wait_for("on air")
                reader.wait(FPS)
                until(reader.code, 20)


def test_streamcam_starts_again_after_it_was_killed() -> None:
    with running(*PATTERN, "--model", "passthrough") as first:
        first.wait_for("on air")
        first.kill()
    with running(*PATTERN, "--model", "passthrough") as again:
        again.wait_for("on air")
        with Reader(node()) as reader:
            until(reader.code, 20)


def test_a_test_that_fails_leaves_no_streamcam_behind() -> None:
    seen = []

    def fail() -> None:
        with running(*PATTERN, "--model", "passthrough") as run:
            seen.append(run)
            run.wait_for("on air")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen[0].process.poll() is not None


def test_the_virtual_camera_can_be_read_as_soon_as_it_is_on_air() -> None:
    # At one frame per second the device is open long before its first frame.
    with running(*PATTERN, "--model", "passthrough", "--fps", "1") as run:
        run.wait_for("on air")
        assert v4l2.device(node()).captures
        with Reader(node()) as reader:
            until(lambda: reader.count, 10)


def test_the_output_shows_the_camera() -> None:
    with watched("--source", "camera", *MODEL) as (run, reader):
        run.wait_for("the engine is running")
        reader.wait(FPS)
        assert brightness(reader) > 20
        assert reader.image().std() > 10


@pytest.mark.parametrize("trouble", [signal.SIGUSR1, signal.SIGUSR2], ids=["unplugged", "frozen"])
def test_a_usb_camera_in_trouble_shows_a_slate_and_comes_back(trouble: signal.Signals) -> None:
    if not USB_PID.exists():
        pytest.skip("no emulated USB camera")
    until(lambda: any(d.driver == "uvcvideo" and d.captures for d in v4l2.devices()), 20)
    camera = next(d for d in v4l2.devices() if d.driver == "uvcvideo" and d.captures)
    usb = int(USB_PID.read_text())
    small = ["--set", "camera_size=640x480"]
    with watched("--source", f"camera:{camera.path}", *small, "--model", "passthrough") as (
        run,
        reader,
    ):
        reader.wait(1)
        until(lambda: not is_slate(reader), 30)
        # Slates are drawn meanwhile, by the processor that unplugs the device.
        with no_visible_gap(reader, 2 * MARGIN_S):
            os.kill(usb, trouble)
            noticed = until(lambda: is_slate(reader), 10)
            os.kill(usb, trouble)
            until(lambda: not is_slate(reader), 30)
            run.wait_for("the source is back")
        print(f"slate after {noticed:.2f} s")
        assert noticed < 2.5


def is_slate(reader: Reader) -> bool:
    """Recognise the slate by its background, which is the same everywhere but in the middle."""
    edge = reader.image()[:20].reshape(-1, 3).astype(int)
    return bool(np.abs(edge - np.array(BACKGROUND)).max() <= 4)
