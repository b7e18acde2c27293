"""Mappings in TOML files: read with the lines of errors, and changed without losing a comment."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from streamcam.control.midi.controls import Control
from streamcam.control.midi.mapping import Assignment, PortMapping, PortSettings
from streamcam.errors import ConfigError, suggest

TABLE = "controls"
MAX_CONTROLS = 2000
Check = Callable[[Control, Assignment], str]


class MappingText(NamedTuple):
    """A file as it was read."""

    mapping: PortMapping
    problems: tuple[str, ...]
    """Lines on what is wrong; the controls they name are left out."""


def parse_mapping(text: str, name: str, check: Check) -> MappingText:
    """Return the mappings in a file.

    Args:
        text: its content.
        name: of the file, as errors show it.
        check: returns the full name of an address, without the prefix; raises ConfigError for one
            that the control cannot change.

    Raises:
        ConfigError: it is no TOML, or holds something else than settings of ports and controls.
    """
    table = _toml(text, name)
    controls = table.pop(TABLE, {})
    if not isinstance(controls, dict):
        raise ConfigError(f"{name}: [{TABLE}] must be a table of controls and addresses")
    if len(controls) > MAX_CONTROLS:
        raise ConfigError(f"{name}: [{TABLE}] has more than {MAX_CONTROLS} controls")
    if unknown := [key for key in table if key not in PortSettings.model_fields]:
        known = suggest(unknown[0], [*PortSettings.model_fields, TABLE])
        raise ConfigError(f'{name}: unknown setting "{unknown[0]}": {known}')
    settings = PortSettings.parse(table, place=lambda _setting: name)
    found: dict[Control, tuple[Assignment, ...]] = {}
    problems = []
    for key, entry in controls.items():
        try:
            control = Control.parse(key)
            found[control] = found.get(control, ()) + _assignments(control, entry, check)
        except ConfigError as error:
            line = _line_of(key, text)
            where = f"{name}, line {line}" if line else name
            problems.append(f"{where}: {error}; this control is left out")
    return MappingText(PortMapping(settings, found), tuple(problems))


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{name} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:
        reason = "a number has too many digits" if "digits" in str(error) else error
        raise ConfigError(f"{name} is not valid TOML: {reason}") from None


def _assignments(control: Control, entry: Any, check: Check) -> tuple[Assignment, ...]:
    entries = entry if isinstance(entry, list) else [entry]
    assignments = []
    for item in entries:
        given = {"address": item} if isinstance(item, str) else item
        if not isinstance(given, dict) or "address" not in given:
            raise ConfigError('takes an address, or a table such as { address = "mix" }')
        assignment = Assignment.parse(given)
        name = check(control, assignment)
        assignments.append(assignment.model_copy(update={"address": name}))
    return tuple(assignments)


def edited(text: str, changes: Mapping[Control, Sequence[Assignment]]) -> str:
    """Return the TOML `text` with the lines of some controls replaced; all else stays as it is.

    Args:
        text: content of a file, valid and perhaps empty.
        changes: the controls, and their mappings from now on; without any they are removed.
    """
    lines = text.splitlines()
    kept = [line for line in lines if _control_in(line) not in changes]
    added = [_line(control, a) for control, a in changes.items() if a]
    if not any(re.match(rf"\s*\[{TABLE}\]", line) for line in kept):
        kept += ["", f"[{TABLE}]"] if kept else [f"[{TABLE}]"]
    return "\n".join([*kept, *added]) + "\n"


def _control_in(line: str) -> Control | None:
    """Return the control whose mapping `line` holds, None if it holds something else."""
    match = re.match(r"""\s*(["'])(?P<key>[^"']+)\1\s*=""", line)
    try:
        return Control.parse(match["key"]) if match else None
    except ConfigError:
        return None


def written(mapping: PortMapping, comment: str) -> str:
    """Return the text of a new file with `mapping`.

    Args:
        mapping: all that it is to hold.
        comment: the first line, without its ``#``.
    """
    settings = mapping.settings
    given = {
        name: getattr(settings, name)
        for name, field in PortSettings.model_fields.items()
        if name == "port" or getattr(settings, name) != field.default
    }
    lines = [f"# {comment}", *(f"{name} = {_toml_value(value)}" for name, value in given.items())]
    lines += ["", f"[{TABLE}]"]
    lines += [_line(control, assignments) for control, assignments in mapping.controls.items()]
    return "\n".join(lines) + "\n"


def _line(control: Control, assignments: Sequence[Assignment]) -> str:
    entries = [_entry(assignment) for assignment in assignments]
    return f'"{control}" = ' + (entries[0] if len(entries) == 1 else f"[{', '.join(entries)}]")


def _entry(assignment: Assignment) -> str:
    given = {
        name: value
        for name, field in Assignment.model_fields.items()
        if (value := getattr(assignment, name)) != field.default and name != "address"
    }
    if not given:
        return _toml_value(assignment.address)
    given = {"address": assignment.address, **given}
    return f"{{ {', '.join(f'{name} = {_toml_value(v)}' for name, v in given.items())} }}"


def _toml_value(value: Any) -> str:
    if isinstance(value, str):
        escaped = (f"\\u{ord(c):04x}" if ord(c) < 32 or c in '"\\\x7f' else c for c in value)
        return f'"{"".join(escaped)}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    return repr(value)


def _line_of(key: str, text: str) -> int | None:
    """Return the number of the line in the table of controls that begins with `key`."""
    pattern = rf"""^\s*(["']?){re.escape(key)}\1\s*="""
    return next((n for n, line in enumerate(text.splitlines(), 1) if re.match(pattern, line)), None)
