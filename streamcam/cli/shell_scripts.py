"""Completion in bash, zsh and fish: click's protocol, with values that hold colons and spaces.

Pressing Tab must never print an error between the words of a command line, so whatever goes wrong
completes nothing.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from streamcam.errors import StreamcamError

PROGRAM = "streamcam"
WORD_BREAKS = ":="
"""Characters at which bash begins another word: what comes before them is there already."""
SPECIAL = re.compile(r"[^\w@%+=:,./~-]")

BASH_SCRIPT = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \
STREAMCAM_LINE="${COMP_LINE:0:COMP_POINT}" STREAMCAM_BREAKS="$COMP_WORDBREAKS" \
%(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$value")
            [[ $value == *[:=] ]] && compopt -o nospace
        fi
    done
    return 0
}

%(complete_func)s_setup() {
    complete -o nosort -F %(complete_func)s %(prog_name)s
}

%(complete_func)s_setup;
"""


class _QuietComplete(ShellComplete):
    """Completion that completes nothing where it fails."""

    def complete(self) -> str:
        """Return the completions, one in a line; none if anything is wrong."""
        # A damaged preset or an unreadable folder, and whatever a plugin raises.
        with suppress(Exception):
            return super().complete()
        return ""


class Bash(_QuietComplete, BashComplete):
    """Completion for bash 4.4 or newer, of whole words instead of bash's own parts of them."""

    source_template = BASH_SCRIPT

    @staticmethod
    def _check_version() -> None:
        """Start no other bash: it may not be the one that the script is for."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one that is being typed."""
        line = os.environ.get("STREAMCAM_LINE")
        if not line:
            return super().get_completion_args()
        words = split_arg_string(line)
        at_next = line[-1:].isspace() and not line.endswith("\\ ") and not _open_quote(line)
        words += [""] if at_next else []
        return words[1:-1], words[-1]

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return `item` as bash inserts it: without what is there, special characters escaped."""
        line = os.environ.get("STREAMCAM_LINE", "")
        if _open_quote(line):
            return f"{item.type},{item.value}"
        typed = self.get_completion_args()[1]
        if typed.startswith("-"):  # As click takes --set=fps= apart.
            typed = typed.partition("=")[2]
        breaks = set(WORD_BREAKS) & set(os.environ.get("STREAMCAM_BREAKS", WORD_BREAKS))
        there = max((typed.rfind(character) + 1 for character in breaks), default=0)
        return f"{item.type},{SPECIAL.sub(_escaped, item.value[there if line else 0 :])}"


class Zsh(_QuietComplete, ZshComplete):
    """Completion for zsh."""


class Fish(_QuietComplete, FishComplete):
    """Completion for fish."""


def _escaped(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def _open_quote(line: str) -> str:
    """Return the quote that is open at the end of `line`; empty if none is."""
    quote, skip = "", False
    for character in line:
        if skip:
            skip = False
        elif character == "\\" and quote != "'":
            skip = True
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
    return quote


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def register() -> None:
    """Let click use these classes."""
    for shell in SHELLS.values():
        add_completion_class(shell)


def script(shell: str) -> str:
    """Return the completion script of `shell`."""
    from streamcam.cli import COMPLETION, streamcam

    return SHELLS[shell](streamcam, {}, PROGRAM, COMPLETION).source()


def script_path(shell: str) -> Path:
    """Return the file that `shell` loads the user's completions of streamcam from.

    Raises:
        StreamcamError: no home folder is known.
    """
    if shell == "fish":
        return _user_folder("XDG_CONFIG_HOME", ".config") / "fish/completions/streamcam.fish"
    data = _user_folder("XDG_DATA_HOME", ".local/share")
    if shell == "zsh":
        return data / "zsh/site-functions/_streamcam"
    own = os.environ.get("BASH_COMPLETION_USER_DIR", "").partition(":")[0]
    folder = Path(own) if Path(own).is_absolute() else data / "bash-completion"
    return folder / "completions/streamcam"


def _user_folder(variable: str, default: str) -> Path:
    given = os.environ.get(variable, "")
    # The XDG specification says to ignore relative paths.
    try:
        return Path(given) if Path(given).is_absolute() else Path.home() / default
    except RuntimeError:
        raise StreamcamError(
            f"no home folder is known for completions; set HOME or {variable}"
        ) from None
