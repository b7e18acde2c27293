"""Make the surfaces for TouchOSC and TouchDesigner from the table: ``python docs/controllers.py``.

Both are written to configs/controllers/, and change when the table of addresses does.
"""

import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import py2tosc
from py2tosc import ui
from py2tosc.enums import ButtonType, Conversion, TriggerCondition

from streamcam.control.addresses import Address, Addresses
from streamcam.settings.base import literal_values, traits
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import shipped_folder
from streamcam.settings.value_types import is_prompt

PREFIX = "/streamcam"
TOUCHOSC, TOUCHDESIGNER = "streamcam.tosc", "touchdesigner.py"
CANVAS = (0, 0, 1024, 768)
FEEDBACK_PORT = "9001"

GREY, RED, BLUE = "#3a4048", "#b3261e", "#2f6f9f"
GROUP_COLOURS = {"Look": "#c8553d", "Prompt": "#588b8b", "Output": "#f28f3b", "Camera": "#6a7fdb"}
LABELS = {
    "num_inference_steps": "schedule",
    "strength_person": "person",
    "strength_background": "background",
    "guidance_scale": "guidance",
    "enable_similar_image_filter": "skip similar",
    "similar_image_filter_threshold": "similarity",
    "similar_image_filter_max_skip_frame": "max skip",
}
"""Short labels where a name is too long for a fader; others are labelled with their names."""
GROUPS = {"seed": "Look", "preset": "Presets"}
"""Groups of the addresses that are no parameters, by their first word."""
PER_ROW = 9
"""Buttons in a row."""


class Control(NamedTuple):
    """One address as a control: its name, what it is labelled with, and its entry in the table."""

    name: str
    label: str
    group: str
    entry: Address


def controls() -> list[Control]:
    """Return the numbers, flags and triggers of the table, each once."""
    addresses = Addresses(PREFIX)
    listed = []
    for full, entry in addresses.known.items():
        name = full.removeprefix(f"{PREFIX}/")
        if entry.secondary or not (entry.fader or entry.trigger or entry.types == "0 or 1"):
            continue
        field = Parameters.model_fields.get(name)
        label = LABELS.get(name, name).replace("_", " ").replace("/", " ")
        group = traits(field).group if field else GROUPS[name.partition("/")[0]]
        listed.append(Control(name, label, group, entry))
    return listed


# ---- TouchOSC


def touchosc() -> bytes:
    """Return the layout as a .tosc file: XML, compressed with zlib."""
    listed = controls()
    faders = [_fader(control) for control in listed if control.entry.fader]
    flags = [_toggle(control) for control in listed if control.entry.types == "0 or 1"]
    triggers = [_button(control) for control in listed if control.entry.trigger]
    buttons = [*flags, *triggers, *_connection_buttons()]
    rows = [buttons[i : i + PER_ROW] for i in range(0, len(buttons), PER_ROW)]
    document = py2tosc.Document(
        root=ui.column(
            ui.row(*faders, gap=6),
            [ui.row(*row, sizes=len(row), gap=6) for row in rows],
            sizes=(5, *[1] * len(rows)),
            gap=8,
            pad=8,
            frame=CANVAS,
            name="streamcam",
        )
    ).resolve()
    # The library draws random ids; the same table shall give the same file.
    for number, control in enumerate(document.walk()):
        object.__setattr__(control, "id", str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PREFIX}/{number}")))
    if issues := py2tosc.validate(document):
        raise ValueError("; ".join(map(str, issues)))
    return zlib.compress(py2tosc.dumps(document).encode(), 9)


def _fader(control: Control) -> py2tosc.Control:
    address = f"{PREFIX}/{control.name}"
    fader = py2tosc.fader(
        name=control.name,
        color=GROUP_COLOURS.get(control.group, GREY),
        messages=[ui.osc(f"{address}/norm", args=[ui.value("x")])],
    )
    # Shows the number itself, as streamcam sends it back.
    text = ui.value("text", conversion=Conversion.STRING)
    shown = ui.osc(address, send=False, var="text", args=[text])
    number = py2tosc.label(name=f"{control.name}/value", messages=[shown], text_size=14)
    return ui.column(number, fader, _caption(control.label), sizes=(1, 8, 1), gap=2)


def _caption(text: str) -> py2tosc.Control:
    return py2tosc.label(
        name=f"{text} caption",
        values=[py2tosc.Value("text", default=text)],
        background=False,
        outline=False,
        text_size=12,
    )


def _toggle(control: Control) -> py2tosc.Control:
    button = py2tosc.button(
        name=control.name,
        color=RED if control.group == "Safety" else GREY,
        button_type=ButtonType.TOGGLE_PRESS,
        messages=[
            ui.osc(
                f"{PREFIX}/{control.name}",
                args=[ui.value("x", conversion=Conversion.INTEGER)],
            )
        ],
    )
    return _labelled(button, control.label)


def _button(control: Control) -> py2tosc.Control:
    # A trigger has no value to receive, and fires when it is pressed.
    message = ui.osc(f"{PREFIX}/{control.name}", args=[ui.value("x")], receive=False)
    button = py2tosc.button(name=control.name, color=BLUE, messages=[message])
    return _labelled(button, control.label)


def _connection_buttons() -> Iterator[py2tosc.Control]:
    """Yield the buttons that ask for feedback, and for all values again."""
    for name, label, arguments in (
        ("subscribe", "connect", (FEEDBACK_PORT, "0")),
        ("sync", "all values", ()),
    ):
        message = ui.osc(
            f"{PREFIX}/{name}",
            args=[ui.const(value, conversion=Conversion.INTEGER) for value in arguments],
            on=TriggerCondition.RISE,
            receive=False,
        )
        yield _labelled(py2tosc.button(name=name, color=GREY, messages=[message]), label)


def _labelled(button: py2tosc.Control, text: str) -> py2tosc.Control:
    return ui.labelled(button, text, size=14)


# ---- TouchDesigner

TABLE = ("CONTROLS = [\n", "\n]\n")
"""Beginning and end of the part of the script that is made; the rest is written by hand."""
MAX_INT = 2**31 - 1
"""The largest whole number of a parameter there, and of OSC's type i."""


def touchdesigner() -> str:
    """Return the script that makes the component, with the table as it is now."""
    script = (_folder() / TOUCHDESIGNER).read_text(encoding="utf-8")
    begin, end = TABLE
    before, _, rest = script.partition(begin)
    _, _, after = rest.partition(end)
    columns = "group, kind, name, label, address, default, lowest, highest, fader, choices"
    rows = "\n".join(f"    {row!r}," for row in _touchdesigner_rows())
    return f"{before}{begin}    # {columns}\n{rows}{end}{after}"


def _touchdesigner_rows() -> Iterator[tuple[object, ...]]:
    for name, field in Parameters.model_fields.items():
        if is_prompt(field):
            yield ("Prompt", "Str", *_names(name), "", None, None, None, ())
        elif words := literal_values(field):
            group = traits(field).group
            yield (group, "Menu", *_names(name), field.default, None, None, None, words)
    for control in controls():
        entry, field = control.entry, Parameters.model_fields.get(control.name)
        default = getattr(field, "default", None)
        head = (control.group, _kind(entry), *_names(control.name))
        if entry.fader:
            low, high = _ends(entry)
            yield (
                *head,
                entry.fader[0] if default is None else default,
                low,
                high,
                entry.fader,
                (),
            )
        else:
            yield (*head, None if entry.trigger else default, None, None, None, ())


def _kind(entry: Address) -> str:
    if entry.trigger:
        return "Pulse"
    if entry.fader is None:
        return "Toggle"
    return "Int" if entry.types == "whole number" else "Float"


def _names(name: str) -> tuple[str, str, str]:
    """Return the name that a parameter may have there, its label, and its address."""
    letters = "".join(character for character in name if character.isalnum()).capitalize()
    return letters, name.replace("_", " ").replace("/", " "), f"{PREFIX}/{name}"


def _ends(entry: Address) -> tuple[float, float | None]:
    """Return the ends of the whole range; None where it has no upper one."""
    words = entry.values.split()
    if words[0] == "from":
        return float(words[1]), MAX_INT
    return float(words[0]), float(words[2])


def _folder() -> Path:
    return Path(shipped_folder(), "controllers")


def main() -> None:
    """Write both files."""
    (_folder() / TOUCHOSC).write_bytes(touchosc())
    (_folder() / TOUCHDESIGNER).write_text(touchdesigner(), encoding="utf-8")


if __name__ == "__main__":
    main()
