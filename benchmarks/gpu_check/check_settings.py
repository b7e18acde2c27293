"""Settings of a check, and of the models that it runs."""

from dataclasses import dataclass
from typing import Any

from benchmarks.gpu_check.section_table import NOTHING_TO_BUILD
from streamcam.settings.config import ACCELERATIONS, Config
from streamcam.settings.config_layers import build_config

FULL = {"image": "random:sd-turbo", "sdxl": "random:sdxl-turbo", "video": "random:wan-1.3b"}
SMALL = {
    "image": "random:tiny-sd-turbo",
    "sdxl": "random:tiny-sdxl-turbo",
    "video": "random:tiny-wan",
}
FULL_SIZE, SMALL_SIZE = 512, 64


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """Settings of a check, which a section's process gets."""

    folder: str
    """For models and engines; gone after the check."""
    is_small: bool
    """Whether models are tiny, as on a processor."""
    deadline: float
    """Monotonic time at which the section is ended."""

    @property
    def rounds(self) -> int:
        """Turns of each candidate of a comparison."""
        return 3 if self.is_small else 9

    @property
    def seconds(self) -> float:
        """Duration of what is measured by the clock."""
        return 1.0 if self.is_small else 4.0

    def config(self, model: str = "image", **values: Any) -> Config:
        """Return the settings of one step without guidance, with `values` changed.

        Args:
            model: ``image``, ``sdxl`` or ``video``.
            values: settings by name.
        """
        size = SMALL_SIZE if self.is_small else FULL_SIZE
        own = {
            "model": (SMALL if self.is_small else FULL)[model],
            "width": size,
            "height": size,
            "acceleration": "eager",
            "engine_dir": f"{self.folder}/engines",
            "prompt": "a lake",
            # Two threads would wait for each other longer than a tiny model runs.
            "threads": 1 if self.is_small else 0,
        }
        one_step = {"cfg_type": "none", "t_index_list": [35]} if model != "video" else {}
        return build_config([own | one_step, values])

    @property
    def ready_engines(self) -> tuple[str, ...]:
        """The engines that run at once, as the project knows them."""
        return tuple(name for name in NOTHING_TO_BUILD if name in ACCELERATIONS)
