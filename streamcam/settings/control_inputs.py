"""Inputs of ControlNets: a preprocessor of the camera image, or a second source."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from streamcam.errors import suggest
from streamcam.settings.base import as_table, from_json

DEPTH, POSE, SEGMENTATION, IMAGE = "depth", "pose", "segmentation", "image"
NORMAL = "normal"
"""Kind of images that no preprocessor draws."""
PREPROCESSORS = (
    *("edges", DEPTH, POSE, SEGMENTATION, "softedge", "lineart", "scribble"),
    IMAGE,
)
ALIASES = {"none": IMAGE, "canny": "edges", "openpose": POSE, "seg": SEGMENTATION}
KINDS = (*PREPROCESSORS, NORMAL)
"""What the images of a second source may show."""
MODEL_SETTINGS = {
    DEPTH: "depth_model",
    POSE: "pose_model",
    SEGMENTATION: "segmentation_model",
}
"""The settings that name the models that draw, by the preprocessor."""
WORDS = {
    "canny": "edges",
    "edges": "edges",
    "depth": DEPTH,
    "midas": DEPTH,
    "zoe": DEPTH,
    "pose": POSE,
    "openpose": POSE,
    "dwpose": POSE,
    "seg": SEGMENTATION,
    "segmentation": SEGMENTATION,
    "softedge": "softedge",
    "hed": "softedge",
    "pidi": "softedge",
    "lineart": "lineart",
    "scribble": "scribble",
    "sketch": "scribble",
    "tile": IMAGE,
    "blur": IMAGE,
    "brightness": IMAGE,
}
"""Inputs of ControlNets that have such a word in their name."""
MISSPELT = 0.75
"""Likeness from which on a word that is no file is an input with an error in it."""


class ControlInput(NamedTuple):
    """The images that one ControlNet is shown."""

    preprocessor: str
    """One of `PREPROCESSORS`; ``image`` leaves the image as it is."""
    source: str = ""
    """The second source that the images come from; empty for the camera."""


def parse_controls(value: Any) -> Any:
    """Read ``["NAME:INPUT", …]`` as a table of inputs by name."""
    value = from_json(value)
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        return value
    pairs = [str(item).partition(":") for item in items]
    if wrong := next((name for name, colon, what in pairs if not (name and colon and what)), None):
        raise ValueError(f'needs NAME:INPUT, such as depth:edges or depth:camera:1, not "{wrong}"')
    return as_table((name, what) for name, _, what in pairs)


def control_inputs(names: Iterable[str], given: Mapping[str, str]) -> dict[str, ControlInput]:
    """Return what each ControlNet of `names` is shown.

    Args:
        names: their short names.
        given: inputs by a name, or by a word that is in only one of the names.

    Raises:
        ValueError: a name is unknown, or nothing says what a ControlNet is shown.
    """
    names = list(names)
    by_name = {_named(key, names): _parse(what) for key, what in given.items()}
    return {name: by_name.get(name) or _guessed(name) for name in names}


def control_kinds(inputs: Mapping[str, ControlInput], given: Mapping[str, str]) -> dict[str, str]:
    """Return what the images of each ControlNet show, one of `KINDS`; empty where nothing says it.

    Args:
        inputs: the input of each, by its name.
        given: kinds by a name, or by a word that is in only one of the names.

    Raises:
        ValueError: a name or a kind is unknown.
    """
    by_name = {_named(key, list(inputs)): ALIASES.get(kind, kind) for key, kind in given.items()}
    for kind in by_name.values():
        if kind not in KINDS:
            raise ValueError(f'control_type: no type "{kind}": {suggest(kind, KINDS)}')
    kinds = {}
    for name, shown in inputs.items():
        is_plain = shown.source and shown.preprocessor == IMAGE
        kinds[name] = by_name.get(name, "" if is_plain else shown.preprocessor)
    return kinds


def _named(key: str, names: list[str]) -> str:
    found = [name for name in names if key == name]
    found = found or [name for name in names if key.lower() in _words(name)]
    found = found or [name for name in names if key in name]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f'control: "{key}" is in several names: {", ".join(found)}')
    known = suggest(key, names) if names else "no controlnet is given"
    raise ValueError(f'control: no controlnet "{key}": {known}')


def _parse(what: str) -> ControlInput:
    word, colon, source = what.partition(":")
    word = ALIASES.get(word, word)
    if word not in PREPROCESSORS:
        known = get_close_matches(word, [*PREPROCESSORS, *ALIASES], n=1, cutoff=MISSPELT)
        if known and not Path(what).expanduser().exists():
            raise ValueError(f'control: no input "{word}": did you mean "{known[0]}"?')
        return ControlInput(IMAGE, what)
    return ControlInput(word, source if colon else "")


def _guessed(name: str) -> ControlInput:
    found = {WORDS[word] for word in _words(name) if word in WORDS}
    if len(found) == 1:
        return ControlInput(found.pop())
    raise ValueError(
        f'control: nothing says what the controlnet "{name}" is shown; add --control'
        f" {name}:INPUT, where INPUT is {', '.join(PREPROCESSORS)}, or for normals and the like a"
        " file or camera:NAME that shows them"
    )


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", name.lower())
