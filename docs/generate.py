"""Write the pages that follow from the code: ``python docs/generate.py``."""

from collections.abc import Container
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from streamcam.broadcast import Broadcast
from streamcam.config import PARTS, Config
from streamcam.parameters import Parameters
from streamcam.settings import Settings, canonical, choices

DOCS = Path(__file__).parent

HEAD = """# Settings

Every setting, made from the code by `python docs/generate.py`. Each can stand in a TOML file
(`--config FILE.toml`, or the name of one in `configs/`) and in `--set KEY=VALUE`; those marked
with a flag also have one of their own. Later ones win: presets in their order, then flags, then
`--set`.
"""

FIXED = "\n## Fixed at start\n\n"
ON_AIR = "\n## Broadcast\n\nFixed at start too, and read by `streamcam run` alone.\n\n"
LIVE = "\n## Live\n\nThese may change on air, and by frame in a cue file.\n\n"
COLUMNS = "| setting | flag | values | default | |\n|---|---|---|---|---|\n"


def settings_page() -> str:
    """Return the page that lists every setting."""
    fixed = FIXED + _table(Config, leave_out=PARTS)
    return HEAD + fixed + ON_AIR + _table(Broadcast) + LIVE + _table(Parameters)


def _table(table: type[Settings], *, leave_out: Container[str] = ()) -> str:
    others = {own: name for name, own in canonical(table).items() if name != own}
    rows = []
    for name, field in table.model_fields.items():
        if name in leave_out:
            continue
        known_as = f" (`{others[name]}`)" if name in others else ""
        flag = f"`--{name.replace('_', '-')}`" if _has_flag(field) else ""
        rows.append(
            f"| `{name}`{known_as} | {flag} | {_values(field)} | {_default(field)}"
            f" | {str(field.description).replace(chr(124), chr(92) + chr(124))} |\n"
        )
    return COLUMNS + "".join(rows)


def _has_flag(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("flag"))


def _values(field: FieldInfo) -> str:
    if words := choices(field):
        return " ".join(f"`{word}`" for word in words)
    limits = {type(limit).__name__: limit for limit in field.metadata}
    low = next((getattr(limits[k], k.lower()) for k in ("Ge", "Gt") if k in limits), None)
    high = next((getattr(limits[k], k.lower()) for k in ("Le", "Lt") if k in limits), None)
    kinds = get_args(field.annotation) or (field.annotation,)
    kind = {int: "whole number", float: "number", bool: "true, false", str: "text"}
    word = kind.get(kinds[0], "list" if "tuple" in str(kinds[0]) else "")
    if low is None:
        return word
    return f"{low:g} – {high:g}" if high is not None and high < 1e9 else f"from {low:g}"


def _default(field: FieldInfo) -> str:
    default: Any = field.default
    if field.default_factory is not None or default is None:
        return ""
    if isinstance(default, tuple):
        default = _shown(default)
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{shown}`" if shown else ""


def _shown(default: tuple[Any, ...]) -> str:
    if isinstance(default[0], tuple):
        return str(default[0][0])
    return ("x" if isinstance(default[0], int) else ", ").join(map(str, default))


if __name__ == "__main__":
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
