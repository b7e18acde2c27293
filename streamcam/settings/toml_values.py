"""Values of settings as TOML text, which ``load_preset`` reads back."""

import json
import re
from typing import Any

from streamcam.settings.parameters import NAMED_FIELDS

SURROGATE = re.compile(r"[\ud800-\udfff]")
"""A byte of an argument that was no text; TOML cannot hold it."""


def toml_value(value: Any) -> str:
    """Return one value as TOML."""
    if isinstance(value, str):
        # A JSON string is a basic string of TOML, but for DEL, which JSON leaves as it is.
        text = SURROGATE.sub("\ufffd", value)
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    if _is_plain_prompt(value):
        return toml_value(value[0][0])
    if isinstance(value, dict):
        inner = ", ".join(f"{toml_value(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(toml_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def toml_setting(name: str, value: Any) -> str:
    """Return the value of a setting as TOML."""
    return toml_value(dict(value) if name in NAMED_FIELDS else value)


def _is_plain_prompt(value: Any) -> bool:
    """Return whether `value` is one text of weight 1 that would not be read as JSON."""
    match value:
        case ((str(text), 1.0),):
            return not text.lstrip().startswith(("[", "{"))
    return False
