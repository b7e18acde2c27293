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
from streamcam.settings.parameters import Parameters, is_prompt
from streamcam.settings.presets import shipped_folder

PREFIX = "/streamcam"
TOUCHOSC, TOUCHDESIGNER = "streamcam.tosc", "touchdesigner.py"
CANVAS = (0, 0, 1024, 768)
FEEDBACK_PORT = "9001"

GREY, RED, BLUE = "#3a4048", "#b3261e", "#2f6f9f"
GROUP_COLOURS = {"Look": "#c8553d", "Prompt": "#588b8b", "Output": "#f28f3b", "Camera": "#6a7fdb"}
LABELS = {
    "num_inference_steps": "schedule",
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

HEADER = '''"""Component for TouchDesigner that steers streamcam; docs/controllers.py writes this.

Put this text into a Text DAT and run it (right-click, "Run Script"). It makes the component
"streamcam" next to the DAT, with a parameter for each address, and an OSC Out DAT within that
sends each as it changes. Running it again replaces the component.
"""

# fmt: off
# ruff: noqa
HOST, PORT = "127.0.0.1", 9000
'''
BUILDER = '''

CALLBACKS = """
ADDRESSES = ADDRESS_TABLE


def onValueChange(par, prev):
    value = par.menuIndex if par.isMenu else par.eval()
    if par.isToggle:
        value = int(value)
    op("oscout").sendOSC(ADDRESSES[par.name], [value])
    return


def onPulse(par):
    op("oscout").sendOSC(ADDRESSES[par.name], [1])
    return
"""


def set_par(operator, names, value):
    """Set the first parameter that this build of TouchDesigner has of `names`."""
    for name in names:
        if hasattr(operator.par, name):
            setattr(operator.par, name, value)
            return
    raise AttributeError(f"{operator} has none of the parameters {names}")


def build(parent):
    """Return the component, made in `parent`."""
    old = parent.op("streamcam")
    if old is not None:
        old.destroy()
    comp = parent.create(baseCOMP, "streamcam")
    out = comp.create(oscoutDAT, "oscout")
    set_par(out, ("address", "netaddress"), HOST)
    set_par(out, ("port",), PORT)
    pages = {}
    for group, kind, name, label, address, default, low, high, fader, choices in CONTROLS:
        if group not in pages:
            pages[group] = comp.appendCustomPage(group)
        add(pages[group], kind, name, label, default, low, high, fader, choices)
    # Made last, so that nothing is sent while the parameters get their defaults.
    send = comp.create(parameterexecuteDAT, "send")
    send.par.op = ".."
    send.par.pars = "*"
    send.par.custom = True
    send.par.builtin = False
    send.par.valuechange = True
    send.par.onpulse = True
    addresses = {control[2]: control[4] for control in CONTROLS}
    send.text = CALLBACKS.replace("ADDRESS_TABLE", repr(addresses))
    return comp


def add(page, kind, name, label, default, low, high, fader, choices):
    """Append one parameter to a page."""
    par = getattr(page, f"append{kind}")(name, label=label)[0]
    if kind in ("Float", "Int"):
        par.normMin, par.normMax = fader
        if low is not None:
            par.min, par.clampMin = low, True
        if high is not None:
            par.max, par.clampMax = high, True
    if kind == "Menu":
        par.menuNames = par.menuLabels = choices
    if default is not None:
        par.default = par.val = default


build(me.parent())
'''

MAX_INT = 2**31 - 1
"""The largest whole number of a parameter there, and of OSC's type i."""


def touchdesigner() -> str:
    """Return the script that makes the component."""
    rows = "".join(f"    {row!r},\n" for row in _touchdesigner_rows())
    columns = "group, kind, name, label, address, default, lowest, highest, fader, choices"
    return f"{HEADER}CONTROLS = [\n    # {columns}\n{rows}]{BUILDER}"


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


def main() -> None:
    """Write both files."""
    folder = Path(shipped_folder(), "controllers")
    (folder / TOUCHOSC).write_bytes(touchosc())
    (folder / TOUCHDESIGNER).write_text(touchdesigner(), encoding="utf-8")


if __name__ == "__main__":
    main()
