"""The OSC server with clients of other projects: liblo and Pure Data."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.control.osc.running_server import running_server

needs_liblo = pytest.mark.skipif(
    not shutil.which("oscsend") or not shutil.which("oscdump"), reason="liblo-tools is missing"
)
needs_pd = pytest.mark.skipif(not shutil.which("pd"), reason="Pure Data is missing")


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


@needs_liblo
@pytest.mark.parametrize(
    ("types", "arguments", "wanted"),
    [
        ("f", ["1.5"], 1.5),
        ("d", ["1.25"], 1.25),
        ("i", ["3"], 3.0),
        ("h", ["4"], 4.0),
        ("s", ["2.5"], 2.5),
        ("S", ["2.75"], 2.75),
        ("T", [], 1.0),
        ("F", [], 0.0),
        ("N", [], 0.0),
        ("I", [], 1.0),
        ("c", ["\x07"], 7.0),
    ],
)
def test_every_type_that_oscsend_knows_is_a_number(
    types: str, arguments: list[str], wanted: float
) -> None:
    with running_server(guidance_scale=20) as running:
        address = "/streamcam/guidance_scale"
        command = ["oscsend", "127.0.0.1", str(running.server.port), address, types, *arguments]
        subprocess.run(command, check=True, timeout=10)
        until(lambda: running.control.target.guidance_scale == wanted)
        assert running.server.counts["malformed"] == 0


@needs_liblo
def test_oscsend_sends_prompts_and_infinities() -> None:
    with running_server() as running:
        to = ["oscsend", "127.0.0.1", str(running.server.port)]
        words = ["ssi", "neon", "grün", "3"]
        subprocess.run([*to, "/streamcam/prompt", *words], check=True, timeout=10)
        until(lambda: running.control.target.prompt == (("neon grün 3", 1.0),))
        subprocess.run([*to, "/streamcam/delta", "f", "inf"], check=True, timeout=10)
        until(lambda: running.server.counts["refused"] == 1)
        assert running.control.target.delta == 1.0


@needs_liblo
def test_oscsend_reaches_us_over_tcp() -> None:
    with running_server() as running:
        to = ["oscsend", f"osc.tcp://127.0.0.1:{running.server.port}/"]
        subprocess.run([*to, "/streamcam/seed", "i", "192"], check=True, timeout=10)
        until(lambda: running.control.target.seed == 192)


@needs_liblo
def test_oscdump_reads_all_feedback() -> None:
    with running_server(prompt="grün") as running:
        running.client.socket.close()
        command = ["stdbuf", "-oL", "oscdump", str(running.client.port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dump:
            assert dump.stdout is not None
            time.sleep(0.3)
            subscribe = ["/streamcam/subscribe", "i", str(running.client.port)]
            to = ["oscsend", "127.0.0.1", str(running.server.port)]
            subprocess.run([*to, *subscribe], check=True, timeout=10)
            lines: list[str] = []
            while not any("/stream-info/fps" in line for line in lines):
                lines.append(dump.stdout.readline())
            dump.send_signal(signal.SIGTERM)
        lines_read = {line.split(" ", 1)[1].strip() for line in lines}
        assert '/streamcam/prompt s "grün"' in lines_read
        assert "/streamcam/seed i 2" in lines_read
        assert "/streamcam/mirror i 0" in lines_read
        assert "/streamcam/delta f 1.000000" in lines_read
        assert "/streamcam/stat/latency f 125.000000" in lines_read


PATCH = """#N canvas 0 0 600 400 10;
#X obj 10 10 loadbang;
#X obj 10 40 t b b b b;
#X msg 300 70 connect 127.0.0.1 {port};
#X msg 200 70 2.5;
#X obj 200 100 oscformat streamcam guidance_scale;
#X msg 100 70 symbol neon;
#X obj 100 100 oscformat streamcam prompt;
#X obj 100 130 list prepend send;
#X obj 100 160 list trim;
#X obj 100 190 netsend -u -b;
#X obj 10 70 delay 500;
#X msg 10 100 \\; pd quit;
#X connect 0 0 1 0;
#X connect 1 0 10 0;
#X connect 1 1 5 0;
#X connect 1 2 3 0;
#X connect 1 3 2 0;
#X connect 2 0 9 0;
#X connect 3 0 4 0;
#X connect 4 0 7 0;
#X connect 5 0 6 0;
#X connect 6 0 7 0;
#X connect 7 0 8 0;
#X connect 8 0 9 0;
#X connect 10 0 11 0;
"""


@needs_pd
def test_pure_data_sends_numbers_and_symbols(tmp_path: Path) -> None:
    with running_server() as running:
        patch = tmp_path / "controls.pd"
        patch.write_text(PATCH.format(port=running.server.port), encoding="utf-8")
        command = ["pd", "-nogui", "-noaudio", "-nomidi", "-noprefs", "-open", str(patch)]
        environment = {**os.environ, "HOME": str(tmp_path)}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as pd:
            try:
                until(lambda: running.control.target.prompt == (("neon", 1.0),))
                until(lambda: running.control.target.guidance_scale == 2.5)
            finally:
                pd.terminate()
        assert running.server.counts["malformed"] == 0
