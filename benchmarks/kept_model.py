"""Random models on disk, where real ones are: loading them is a part of every start."""

from pathlib import Path

from streamcam.bench.harness import changed, no_report
from streamcam.engines.placement import pick_dtype, place
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.families import RANDOM
from streamcam.settings.config import Config


def kept_on_disk(config: Config, folder: Path) -> Config:
    """Return `config` with its random model saved in `folder`, unless it is there already."""
    if not config.model.startswith(RANDOM):
        return config
    if not (folder / "model_index.json").exists():
        placement = place(changed(config, acceleration="eager"))
        dtype = pick_dtype(config.dtype, placement.device)
        pipe = load_pipeline(config, dtype, no_report, placement.device)
        pipe.save_pretrained(folder)
    return changed(config, model=str(folder))
