"""Load models of transformers that draw, from an image, what ControlNets are shown."""

from typing import Any, NamedTuple

import torch

from streamcam.errors import ModelError
from streamcam.models import hub, model_files
from streamcam.models.file_headers import read_json
from streamcam.models.weights import check_finite, check_no_missing_weights, explain_load_errors
from streamcam.settings.config import Config

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VisionModel(NamedTuple):
    """A model of transformers, and how it takes images."""

    model: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def settings(self) -> Any:
        """Its config."""
        return self.model.config


class Task(NamedTuple):
    """A kind of vision model."""

    setting: str
    """The name of the setting that names the model."""
    name: str
    """As in "a depth model"."""
    lacks: str
    """What a model of another kind does, as in "estimates no depth"."""
    loader: str
    """The class of transformers that loads such models."""


def load_vision_model(config: Config, task: Task, dtype: torch.dtype) -> VisionModel:
    """Return the model of `config` for `task`, in `dtype` on the CPU.

    Raises:
        ModelError: it is missing, damaged, or of another kind.
    """
    name = getattr(config, task.setting)
    with hub.offline_mode(offline=config.offline):
        folder = model_files.vision_folder(name, offline=config.offline)
        with explain_load_errors(f"the {task.name} model {name}", folder, "fetch it again"):
            import transformers

            settings = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True)
            loader = getattr(transformers, task.loader)
            if not _loads(loader, settings):
                raise ModelError(
                    f"{name} is a {settings.model_type}, which {task.lacks}; name a {task.name}"
                    f" model with --set {task.setting}=…"
                )
            if not [*folder.glob("*.safetensors")]:
                raise ModelError(
                    f"the {task.name} model {name} has no .safetensors weights; others are pickled,"
                    " which can run code: get them as .safetensors"
                )
            model, loading = loader.from_pretrained(
                str(folder),
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
        file = folder / "preprocessor_config.json"
        images = read_json(file) if file.exists() else {}
    missing = set(loading["missing_keys"])
    stored = {each for each, _ in model.named_parameters()} - missing
    check_no_missing_weights(model, stored, f"the {task.name} model {name}")
    check_finite(model, f"the {task.name} model {name}")
    return VisionModel(
        model.eval().requires_grad_(False),
        tuple(images.get("image_mean", IMAGENET_MEAN)),
        tuple(images.get("image_std", IMAGENET_STD)),
    )


def _loads(loader: Any, settings: Any) -> bool:
    known = getattr(loader, "_model_mapping", None)
    if known is not None:
        return type(settings) in known
    return isinstance(settings, loader.config_class)
