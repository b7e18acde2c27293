"""Sections of the check, in order of worth: those that build engines come last."""

from typing import NamedTuple

from streamcam.settings.config import ACCELERATIONS
from streamcam.settings.model_settings import AUTO

PACKAGE = "benchmarks.gpu_check"
START = f"{PACKAGE}.start_section:start"
NOTHING_TO_BUILD = ("eager", "graph")
"""Engines that run at once."""


class Section(NamedTuple):
    """A part of the check, which runs in a process of its own."""

    name: str
    function: str
    """``module:function``, called with the settings of the check and `engine`."""
    limit_s: float
    """It is ended after so long."""
    least_s: float
    """It is not begun where less time is left."""
    repeats: bool = True
    """Whether it runs again, for the spread, if there is time."""
    engine: str = ""


SECTIONS = (
    Section("device", f"{PACKAGE}.device_section:device", 40, 5, repeats=False),
    Section("answers", f"{PACKAGE}.answers_section:answers", 60, 15),
    Section("1 step", f"{PACKAGE}.speed_sections:one_step", 60, 15),
    Section("start", START, 60, 15, engine="graph"),
    Section("4 steps", f"{PACKAGE}.speed_sections:four_steps", 60, 15),
    Section("4 frames a call", f"{PACKAGE}.speed_sections:four_frames", 45, 15),
    Section("techniques", f"{PACKAGE}.speed_sections:techniques", 60, 20),
    Section("video", f"{PACKAGE}.video_section:video", 60, 20),
    Section("energy", f"{PACKAGE}.energy_section:energy", 60, 20),
    Section("live", f"{PACKAGE}.live_section:live", 90, 20),
    Section("sdxl-turbo", f"{PACKAGE}.speed_sections:sdxl_turbo", 60, 20),
)


def sections() -> list[Section]:
    """Return all sections, with those of each engine that is known here."""
    built = [name for name in ACCELERATIONS if name not in (AUTO, *NOTHING_TO_BUILD)]
    builds = [
        Section(
            f"{engine}{suffix}",
            f"{PACKAGE}.build_section:{function}",
            limit_s=180,
            least_s=30,
            repeats=False,
            engine=engine,
        )
        for suffix, function in (("", "one_frame"), (" 4 frames", "four_frames"))
        for engine in built
    ]
    starts = [
        Section(
            f"{engine} start",
            START,
            60,
            10,
            repeats=False,
            engine=engine,
        )
        for engine in built
    ]
    return [*SECTIONS, *builds, *starts]
