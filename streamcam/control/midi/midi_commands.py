"""Commands of the MIDI room: learn and forget mappings, and list them."""

from streamcam.control.command_declaration import Command

OFF = "MIDI is not in use; start with --midi auto, or --midi and the name of a port"

MIDI_COMMANDS = {
    "midi/learn": Command(
        "text",
        "an address; a value",
        "Map the MIDI control that is moved next to an address. With a value after it, that is"
        " what the control sends: preset/load neon. The same address again, or none, cancels; so"
        " does a minute without a movement. As feedback, what waits for a control.",
        OFF,
        has_value=True,
    ),
    "midi/forget": Command(
        "text",
        "an address; a value",
        "Remove what is mapped to an address, with a value after it only what sends that, and"
        " stop learning.",
        OFF,
    ),
    "midi/ports": Command(
        "texts", "", "The MIDI inputs that are open.", OFF, has_value=True, read_only=True
    ),
    "midi/mappings": Command(
        "texts",
        "",
        "What is mapped on the open ports, one text each, such as strength: cc 0 ch 1,"
        " nanoKONTROL2.",
        OFF,
        has_value=True,
        read_only=True,
    ),
}
"""By address without the prefix."""
