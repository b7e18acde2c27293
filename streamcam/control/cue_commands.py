"""Table of the commands that play a cue list."""

from streamcam.control.command_declaration import Command

OFF_AIR = "takes effect on air only: start streamcam run"
NO_LIST = (
    "there is no cue list: start streamcam run with --cue-list and a file, or send /cue/load and"
    " the name of one in your configuration folder"
)

CUE_COMMANDS = {
    "cue/go": Command(
        "trigger",
        "none, 1",
        "GO: play the next cue. A cue that waits to follow by itself goes now.",
        OFF_AIR,
        trigger=True,
        quantised=True,
    ),
    "cue/back": Command(
        "trigger",
        "none, 1",
        "Play the cue before, as it looked then; nothing follows by itself.",
        OFF_AIR,
        trigger=True,
        quantised=True,
    ),
    "cue/jump": Command(
        "text or number",
        "name of a cue, or its number from 1",
        "Play this cue, with the look that the cues before it lead to.",
        OFF_AIR,
        quantised=True,
    ),
    "cue/current": Command(
        "text",
        "",
        "The cue played last, empty before the first.",
        OFF_AIR,
        has_value=True,
        read_only=True,
    ),
    "cue/next": Command(
        "text",
        "",
        "The cue that GO plays, empty at the end.",
        OFF_AIR,
        has_value=True,
        read_only=True,
    ),
    "cue/load": Command(
        "text",
        "name of a cue list",
        "Take another cue list, from your configuration folder; GO plays its first cue. As"
        " feedback, the one that is played from.",
        OFF_AIR,
        has_value=True,
    ),
    "cue/lists": Command(
        "texts", "", "The cue lists that can be loaded.", OFF_AIR, has_value=True, read_only=True
    ),
    "cue/notice": Command(
        "text",
        "",
        "What became of the list that was loaded last, or of a cue that was to go by itself.",
        OFF_AIR,
        has_value=True,
        read_only=True,
    ),
    "cue/names": Command(
        "texts", "", "The cues in their order.", OFF_AIR, has_value=True, read_only=True
    ),
}
"""By address without the prefix."""
