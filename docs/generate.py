"""Write the pages that follow from the code: ``python docs/generate.py``."""

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from streamcam.control.osc.addresses import Addresses
from streamcam.control.osc.reference import Row, asking, steering, told
from streamcam.settings.base import Settings, accepted_names, literal_values, traits
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import PARTS, Config
from streamcam.settings.parameters import Parameters
from streamcam.settings.video_settings import VideoSettings

DOCS = Path(__file__).parent

HEAD = """# Settings

Every setting, made from the code by `python docs/generate.py`. Each can stand in a TOML file
(`--config FILE.toml`, or the name of one in `configs/`) and in `--set KEY=VALUE`; those marked
with a flag also have one of their own. Later ones win: presets in their order, then flags, then
`--set`.
"""

FIXED = "\n## Fixed at start\n\n"
VIDEO = "\n## Video\n\nFixed at start too, and read by `pipeline=video` alone.\n\n"
ON_AIR = "\n## Broadcast\n\nFixed at start too, and read by `streamcam run` alone.\n\n"
LIVE = "\n## Live\n\nThese may change on air, and by frame in a cue file.\n\n"
COLUMNS = "| setting | flag | values | default | |\n|---|---|---|---|---|\n"


def settings_page() -> str:
    """Return the page that lists every setting."""
    fixed = FIXED + _table(Config, leave_out=PARTS)
    on_start = VIDEO + _table(VideoSettings) + ON_AIR + _table(BroadcastSettings)
    return HEAD + fixed + on_start + LIVE + _table(Parameters)


def _table(table: type[Settings], *, leave_out: Container[str] = ()) -> str:
    others = {own: name for name, own in accepted_names(table).items() if name != own}
    rows = []
    for name, field in table.model_fields.items():
        if name in leave_out:
            continue
        known_as = f" (`{others[name]}`)" if name in others else ""
        flag = f"`--{name.replace('_', '-')}`" if traits(field).flag else ""
        rows.append(
            f"| `{name}`{known_as} | {flag} | {_values(field)} | {_default(field)}"
            f" | {str(field.description).replace(chr(124), chr(92) + chr(124))} |\n"
        )
    return COLUMNS + "".join(rows)


def _values(field: FieldInfo) -> str:
    if words := literal_values(field):
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
    a_size = isinstance(default[0], int) and len(default) == 2
    return ("x" if a_size else ", ").join(map(str, default))


OSC_HEAD = """# OSC

Made from the code by `python docs/generate.py`; `streamcam osc list` shows the same, with your
prefix and aliases. How to use it from [TouchDesigner](touchdesigner.md), [TouchOSC](touchosc.md)
and [Resolume](resolume.md).

streamcam listens on UDP port 9000 of this machine (`--osc-port`), and on the same TCP port, to
packets preceded by their length (OSC 1.0) or framed by SLIP (OSC 1.1, QLab). To let others in, say
`--osc-bind 0.0.0.0`: then the hosts in `osc_allow` are heard, the private networks by default.

```
streamcam osc send prompt "neon lights"
streamcam osc send guidance_scale 1.4
streamcam osc monitor
```

**Any number for any number.** i h f d T F N I and numeric texts are taken alike; floats are rounded
where a whole number is wanted; what is out of range is clamped, and the clamped value told back.
NaN and infinities are dropped. Flags take 0, 1, true, false, on and off, and no argument is on.
Words are taken by name or by index from 0. The arguments of a prompt are joined with spaces, up to
1000 bytes of UTF-8. Every number also has an address with `/norm`, where 0 to 1 is its range.

**Triggers** fire on no argument, on true, and when a number rises to 0.5 or more; letting go does
nothing.

**A bundle applies whole**, between two frames, at once: time tags are not waited for. What is
unknown or refused in it is answered and does not hinder the rest. A packet takes up to 8192 bytes
and 256 messages.

**Feedback.** Send `/streamcam/subscribe 9001` and everything is told to port 9001 of your host: all
values at once, then what changes, at most 30 times a second, and the figures twice a second. While
you move a control its own address is not told to you until it rests for 0.3 s. Subscribe again
within 600 s, or give the seconds as second argument; 0 is until `/streamcam/unsubscribe`. There may
be 32 subscribers. Values go out as i, f and s, flags as 0 and 1. Over TCP, `/streamcam/subscribe`
without a port tells on the same connection.

**Errors** are answered with `/streamcam/error` (address, what is wrong), to the port that sent and
to the subscribers of the same host. One host is heard `osc_rate` times a second, and what is longer
than 64 bytes counts as several. Patterns (`*`, `?`) are not expanded. No message names a file, a
model or a command: presets are read at start, and of each only what can change on air.

**Max** sends with `[udpsend 127.0.0.1 9000]`; **Pure Data** with `[oscformat streamcam mix]` into
`[netsend -u -b]`, connected to port 9000; **Open Stage Control** wants `127.0.0.1:9000` as `send`
and a subscription to its `osc-port`, and its widgets then follow.
"""

OSC_COLUMNS = "| address | takes | values | |\n|---|---|---|---|\n"


def osc_page() -> str:
    """Return the page that lists every OSC address."""
    addresses = Addresses("/streamcam")
    steered = [row for row in steering(addresses) if not row.address.endswith("/norm")]
    known = " ".join(f"`{alias}`" for alias in addresses.aliases)
    return (
        f"{OSC_HEAD}\n## To steer\n\nThose marked with * are also told to subscribers.\n\n"
        f"{_addresses(steered)}\n## To ask\n\n{_addresses(asking(addresses.prefix))}"
        f"\n## What is told\n\n{_addresses(told(addresses.prefix))}"
        f"\n## Without the prefix\n\nAs in StreamDiffusionTD: {known}. Further ones are set with"
        " `osc_alias`.\n"
    )


def _addresses(rows: Iterable[Row]) -> str:
    return OSC_COLUMNS + "".join(
        f"| `{row.address}`{' *' if row.direction == 'both' else ''} | {row.types} | {row.values}"
        f" | {row.description} |\n"
        for row in rows
    )


if __name__ == "__main__":
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
    (DOCS / "osc.md").write_text(osc_page(), encoding="utf-8")
