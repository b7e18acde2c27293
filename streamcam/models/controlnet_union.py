"""Union ControlNets: one network for many kinds of images, and an input that names the kind."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from streamcam.errors import ModelError
from streamcam.settings.control_inputs import DEPTH, IMAGE, NORMAL, POSE, SEGMENTATION

UNION_CLASS = "ControlNetUnionModel"
TASKS = "task_embedding"
"""The weight that other ControlNets do not have: a row for each kind of images."""
TYPES = {
    POSE: 0,
    DEPTH: 1,
    "softedge": 2,
    "scribble": 2,
    "edges": 3,
    "lineart": 3,
    NORMAL: 4,
    SEGMENTATION: 5,
    IMAGE: 6,
}
"""The type of each kind of images in the published ones; the last two types are in some alone."""


def is_union(settings: Mapping[str, Any]) -> bool:
    """Return whether the config of a ControlNet is one of a union, by whatever class name."""
    name = str(settings.get("_class_name"))
    is_named = name.startswith("ControlNet") and "Union" in name
    return is_named or (name == "ControlNetModel" and "num_control_type" in settings)


def union_type(item: str, name: str, module: Any, kind: str) -> int:
    """Return the type that the union `module` has for images of `kind`.

    Raises:
        ModelError: the kind is not known, or the union has no type for it.
    """
    count = module.config.num_control_type
    known = [known for known, index in TYPES.items() if index < count]
    if not kind:
        raise ModelError(
            f"{item} is a union, and nothing says what its images show: add --set"
            f" control_type={name}:TYPE, where TYPE is {', '.join(known)}"
        )
    if kind not in known:
        raise ModelError(
            f"{item} has no type for {kind}: show it {', '.join(known)} with --control {name}:INPUT"
        )
    return TYPES[kind]


def union_config(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the config of a union of these weights, whose levels are those of `config`."""
    types, channels = weights[TASKS].shape
    layers = {n.split(".")[1] for n in weights if n.startswith("transformer_layes.")}
    return dict(config) | {
        "num_control_type": types,
        "num_trans_channel": channels,
        "num_trans_layer": len(layers),
        "num_proj_channel": weights["spatial_ch_projs.weight"].shape[0],
    }
