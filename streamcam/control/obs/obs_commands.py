"""Commands of the OBS room."""

from streamcam.control.command_declaration import Command

OFF = "OBS is not in use; start with --obs"

OBS_COMMANDS = {
    "obs/live": Command(
        "0 or 1", "0 1", "Whether OBS is streaming.", OFF, has_value=True, read_only=True
    ),
    "obs/scene": Command(
        "text",
        "name of a scene",
        "Switch OBS to a scene; as feedback, the one on air.",
        OFF,
        has_value=True,
    ),
}
"""By address without the prefix."""
