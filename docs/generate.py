"""Write the pages that are generated from the code: ``python docs/generate.py``."""

import re
import textwrap
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import click
from pydantic.fields import FieldInfo

from streamcam.cli import streamcam
from streamcam.cli.run import run
from streamcam.control.addresses import Addresses, Row
from streamcam.control.osc.feedback import feedback_rows
from streamcam.control.osc.queries import query_rows
from streamcam.settings.base import Settings, accepted_names, literal_values, traits
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import PARTS, Config
from streamcam.settings.parameters import Parameters
from streamcam.settings.video_settings import VideoSettings

DOCS = Path(__file__).parent

HEAD = """# Settings

Every setting, generated from the code by `python docs/generate.py`. Each can stand in a TOML file
(`--config FILE.toml`, or the name of one in `configs/`) and in `--set KEY=VALUE`; those with a flag
in the second column also have that. Later ones win: presets in their order, then flags, then
`--set`. Several presets at the start are layers: `--config watercolour --config duotone` is
watercolour with the prompt of duotone. A preset loaded on air [replaces](osc.md) the one before.
"""

FIXED = "\n## Fixed at start\n\n"
VIDEO = "\n## Video\n\nFixed at start too, and only used by `pipeline=video`.\n\n"
BROADCAST = "\n## Broadcast\n\nFixed at start too, and only used by `streamcam run`.\n\n"
LIVE = "\n## Live\n\nThese may change on air, and by frame in a cue file.\n"
COLUMNS = "| setting | flag | values | default | |\n|---|---|---|---|---|\n"


def settings_page() -> str:
    """Return the page that lists every setting."""
    fixed = FIXED + _table(_fields(Config, leave_out=PARTS))
    video = VIDEO + _table(_fields(VideoSettings))
    broadcast = BROADCAST + _table(_fields(BroadcastSettings))
    return HEAD + fixed + video + broadcast + live_settings(Parameters)


def live_settings(table: type[Parameters]) -> str:
    """Return the section of the live settings, one table for each group."""
    groups: dict[str, list[_Field]] = {}
    for field in _fields(table):
        groups.setdefault(traits(field.info).group, []).append(field)
    return LIVE + "".join(f"\n### {group}\n\n{_table(rows)}" for group, rows in groups.items())


class _Field(NamedTuple):
    name: str
    aliases: Sequence[str]
    info: FieldInfo


def _fields(table: type[Settings], *, leave_out: Container[str] = ()) -> list[_Field]:
    accepted = accepted_names(table)
    return [
        _Field(name, [alias for alias in accepted if accepted[alias] == name != alias], info)
        for name, info in table.model_fields.items()
        if name not in leave_out
    ]


def _table(fields: Iterable[_Field]) -> str:
    rows = []
    for name, aliases, info in fields:
        shown = "".join(f" (`{alias}`)" for alias in aliases)
        flag = f"`--{name.replace('_', '-')}`" if traits(info).flag else ""
        description = str(info.description).replace("|", r"\|")
        values = f"{_values(info)} {traits(info).unit}".strip()
        rows.append(f"| `{name}`{shown} | {flag} | {values} | {_default(info)} | {description} |\n")
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
        default = _as_text(default)
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{shown}`" if shown else ""


def _as_text(default: tuple[Any, ...]) -> str:
    if not default:
        return ""
    if isinstance(default[0], tuple):
        return str(default[0][0])
    is_size = isinstance(default[0], int) and len(default) == 2
    return ("x" if is_size else ", ").join(map(str, default))


OSC_HEAD = """# OSC

Generated from the code by `python docs/generate.py`; `streamcam osc list` shows the same, with
your prefix and aliases. How to use it from [TouchDesigner](touchdesigner.md),
[TouchOSC](touchosc.md) and [Resolume](resolume.md).

streamcam listens on UDP port 9000 of this machine (`--osc-port`), and on the TCP port of the same
number, for packets preceded by their length (OSC 1.0) or framed by SLIP (OSC 1.1, QLab). To accept
messages from other machines, use `--osc-bind 0.0.0.0`: then the networks in `osc_allow` are
accepted, by default the private ones and those of directly connected machines. A host outside of
them is logged once.

```
streamcam osc send prompt "neon lights"
streamcam osc send guidance_scale 1.4
streamcam osc get prompt
streamcam osc monitor
```

**Any kind of number is accepted for a number**: i h f d T F N I and numeric texts. A float is
rounded where a whole number is needed; a value out of range is clamped, and the clamped value sent
back. NaN and infinities are refused. Flags take 0, 1, true, false, on and off; no argument is on.
Words are taken by name or by index from 0; an index that there is not is refused. The arguments of
a prompt are joined with spaces, up to 1000 bytes of UTF-8; the rest of a longer one is left out,
with a `/streamcam/warning`. Without an argument a prompt is refused; an empty text clears it.
Every number also has an address with `/norm`, where 0 to 1 spans its range, or the part of it that
is given below as the fader's: the rest of the range is reached by number. A model may have
[faders of its own](models.md#faders), as nano does for `strength`; `streamcam osc list --set
model=nano` shows them.

**Triggers** fire without an argument, on true, and when a number rises to 0.5 or more; releasing a
button does nothing.

**A bundle applies as one change**, between two frames. One with a time tag is seen on air at that
time, up to 10 seconds ahead: it is applied earlier by the measured latency. A time that is over is
now; one further ahead is refused, with what to do. `/streamcam/panic` never waits. For senders
whose clock is wrong there is `--set osc_time_tags=false`: then bundles apply as they arrive. A
message that is unknown, unreadable (a blob, say) or refused is answered and does not hinder the
rest; those of other programs are answered once. A packet may have up to 8192 bytes and 256
messages, and 128 bundles of a host may wait for their time. How to let changes wait for the beat:
[Tempo](tempo.md).

**Feedback.** Send `/streamcam/subscribe 9001`, and feedback goes to port 9001 of your host: all
values at once, then values that change, at most 30 times a second, and the figures twice a second.
While you move a control, its own address is not sent to you until it has rested for 0.3 s.
Subscribe again within 600 s, or give the seconds as the second argument; 0 lasts until
`/streamcam/unsubscribe`. There may be 32 subscribers. Values are sent as i, f and s, flags as 0
and 1. Over TCP, `/streamcam/subscribe` without a port sends on the same connection.

**From another machine, answer `/streamcam/confirm`.** Anyone can send UDP packets in another's
name, so a machine that has not shown that it receives gets ten bytes for each one that it sends:
all values come within a second of moving a fader, but the figures only now and then. A client
shows it by sending `/streamcam/confirm` back with the text that came with it, after which nothing
is held back (`streamcam osc` does that), or by a TCP connection. On the same machine it is not
needed. Ports below 1024, and streamcam's own, cannot be subscribed.

**Errors** are sent to `/streamcam/error` (address, what is wrong), at the port that the message
came from and at the subscribers of the same host. Each host may send `osc_rate` messages a second,
and hosts take turns; a message longer than 64 bytes counts as several, and a host that floods is
not heard for some seconds. There may be 16 TCP connections; one more takes the place of one that
has been idle for ten seconds, or of a host that has most of them. Patterns (`*`, `?`) are not
expanded. No message can name a file, a model or a command: presets are known by name, and a preset
only changes what may change on air.

**Presets replace each other.** Each sets the whole look (prompts, strength or indices, guidance),
and whatever else any of them holds: to its own value, or else to the model's default, or to the
value at the start if a model has none. So a preset looks the same whichever was loaded before.

**Max** sends with `[udpsend 127.0.0.1 9000]`; **Pure Data** with `[oscformat streamcam mix]` into
`[netsend -u -b]`, connected to port 9000; **Open Stage Control** needs `127.0.0.1:9000` as `send`
and a subscription for its `osc-port`, and its widgets then follow.
"""

CONTROLS = "The values of those marked with * are also sent as feedback."
OSC_COLUMNS = "| address | takes | values | |\n|---|---|---|---|\n"


def osc_page() -> str:
    """Return the page that lists every OSC address."""
    addresses = Addresses("/streamcam")
    controls = [
        addresses.with_fader(row) for row in addresses.rows() if not row.address.endswith("/norm")
    ]
    aliases = " ".join(f"`{alias}`" for alias in addresses.aliases)
    return (
        f"{OSC_HEAD}\n## Controls\n\n{CONTROLS}\n\n"
        f"{_addresses(controls)}\n## Queries\n\n{_addresses(query_rows(addresses.prefix))}"
        f"\n## Feedback\n\n{_addresses(feedback_rows(addresses.prefix), all_sent=True)}"
        f"\n## Without the prefix\n\nAs in StreamDiffusionTD: {aliases}."
        " Set more with `osc_alias`.\n"
    )


def _addresses(rows: Iterable[Row], *, all_sent: bool = False) -> str:
    """Return the table of `rows`, with a star for each that is sent, unless all are."""
    return OSC_COLUMNS + "".join(
        f"| `{row.address}`{'' if all_sent or row.direction == 'in' else ' *'}"
        f" | {row.types} | {row.values}"
        f" | {row.description} |\n"
        for row in rows
    )


COMMAND_HEAD = """# Command line

Generated from the code by `python docs/generate.py`. `streamcam COMMAND --help` prints the same,
`streamcam --version` the version. `python -m streamcam` is the same command.

Every error is one line on stderr. The exit code is 0 on success, 1 after an error, 2 if an option
or a setting is invalid, 130 if Ctrl-C stopped the command. `run` exits with 0 after Ctrl-C.

## Shell completion

```sh
streamcam completion install        # for your shell; or name it: bash, zsh or fish
```

The Tab key then completes commands, their options, and values: presets, cameras and other sources,
sinks, models (nano, the short names, those in the cache), looks, devices, OSC addresses, the names
of settings after `--set` and what they take, and files.

| shell | the script is written to | it is loaded |
|---|---|---|
| bash | `~/.local/share/bash-completion/completions/streamcam` | by bash-completion, or a line |
| zsh | `~/.local/share/zsh/site-functions/_streamcam` | with a line before `compinit` |
| fish | `~/.config/fish/completions/streamcam.fish` | by itself |

bash 4.4 or newer loads it by itself where the package bash-completion is installed. Where a line in
`~/.bashrc` or `~/.zshrc` is needed, `install` prints it and changes no start-up file.
`XDG_DATA_HOME`, `XDG_CONFIG_HOME` and `BASH_COMPLETION_USER_DIR` are heeded. `streamcam completion
show` prints the script, `completion remove` deletes it. It calls `streamcam`, which must be on the
`PATH`: activate its virtual environment first. In bash it was tried with the shell itself; zsh and
fish get click's own scripts.

## Settings

Commands that load a model or go on air take settings:

| option | |
|---|---|
"""

SETTINGS_FLAGS = """The settings used most also have a flag of their own, such as `--prompt`:
[the page of settings](settings.md) lists them all. Later ones win: presets in their order, then
flags, then `--set`.
"""
SETTINGS_OPTIONS = {"presets", "assignments"}
SETTINGS_SECTIONS = {
    "fixed at start": Config,
    "video": VideoSettings,
    "broadcast": BroadcastSettings,
    "live": Parameters,
}
"""Section of the settings page to the table that it lists."""


def command_line_page() -> str:
    """Return the page that lists every command with its usage, help and options."""
    with click.Context(streamcam, info_name="streamcam") as context:
        sections = "".join(_commands(context, depth=2))
        options = "".join(_option(o, context) for o in run.params if o.name in SETTINGS_OPTIONS)
    return f"{COMMAND_HEAD}{options}\n{SETTINGS_FLAGS}{sections}"


def _commands(group: click.Context, depth: int) -> Iterator[str]:
    """Yield the sections of the commands of `group`, and of their subcommands."""
    assert isinstance(group.command, click.Group)
    for name in group.command.list_commands(group):
        command = group.command.get_command(group, name)
        assert command is not None
        with click.Context(command, parent=group, info_name=name) as context:
            yield _command(context, depth)
            if isinstance(command, click.Group):
                yield from _commands(context, depth + 1)


def _command(context: click.Context, depth: int) -> str:
    command, path = context.command, context.command_path
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    text = f"\n{'#' * depth} {path}\n\n```\n{usage}\n```\n\n{_help(command)}"
    sections = _settings_sections(command)
    shared = {name for section in sections for name in _flags(SETTINGS_SECTIONS[section])}
    if sections:
        shared |= SETTINGS_OPTIONS
    rows = [_option(option, context) for option in command.params if option.name not in shared]
    if table := "".join(rows):
        text += f"\n| option | |\n|---|---|\n{table}"
    if sections:
        links = [f"[{name}](settings.md#{name.replace(' ', '-')})" for name in sections]
        text += f"\nAlso `--config`, `--set` and the flags of settings: {', '.join(links)}.\n"
    return text


def _help(command: click.Command) -> str:
    """Return the help text as Markdown; a paragraph that is a command line becomes a code block."""
    paragraphs = re.split(r"\n\s*\n", command.help or "")
    return "\n\n".join(map(_paragraph, paragraphs)) + "\n"


def _paragraph(text: str) -> str:
    line = " ".join(text.split())
    if line.startswith("streamcam "):
        return f"```\n{line}\n```"
    with_code = re.sub(r"(?<![\w-])--[a-z-]*", r"`\g<0>`", line)
    return textwrap.fill(with_code, 100, break_long_words=False, break_on_hyphens=False)


def _settings_sections(command: click.Command) -> list[str]:
    """Return the sections of the settings page whose flags `command` takes."""
    names = {option.name for option in command.params}
    flags = {section: _flags(table) for section, table in SETTINGS_SECTIONS.items()}
    return [section for section in flags if flags[section] and flags[section] <= names]


def _flags(table: type[Settings]) -> set[str]:
    return {name for name, info in table.model_fields.items() if traits(info).flag}


def _option(option: click.Parameter, context: click.Context) -> str:
    """Return the table row of an option; "" for an argument, which the usage line shows."""
    record = option.get_help_record(context)
    if record is None or isinstance(option, click.Argument):
        return ""
    flag, text = (" ".join(part.split()).replace("|", r"\|") for part in record)
    return f"| `{flag}` | {text} |\n"


if __name__ == "__main__":
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
    (DOCS / "osc.md").write_text(osc_page(), encoding="utf-8")
    (DOCS / "command-line.md").write_text(command_line_page(), encoding="utf-8")
