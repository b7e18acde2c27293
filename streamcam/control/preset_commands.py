"""Table of the commands that save, rename and delete presets."""

from streamcam.control.command_declaration import Command

OFF_AIR = "takes effect on air only: start streamcam run"

PRESET_COMMANDS = {
    "preset/save": Command(
        "text",
        "name of a preset",
        "Save the look that is set as a preset of yours, in the place of one of that name; what"
        " became of it comes to /preset/notice.",
        OFF_AIR,
    ),
    "preset/rename": Command(
        "text, text",
        "name of a preset; another name",
        "Rename a preset of yours; those that come with streamcam stay.",
        OFF_AIR,
    ),
    "preset/delete": Command(
        "text",
        "name of a preset",
        "Delete a preset of yours; those that come with streamcam stay.",
        OFF_AIR,
    ),
    "preset/notice": Command(
        "text",
        "",
        "What became of the preset that was saved, renamed or deleted last.",
        OFF_AIR,
        has_value=True,
        read_only=True,
    ),
}
"""By address without the prefix."""
