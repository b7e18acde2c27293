"""Names that become names of files: safe on every system, and never a path."""

from unicodedata import category, normalize

from streamcam.errors import ParameterError

MAX_NAME = 60
"""Characters; a file's name has room for as many letters of any script, and a suffix."""
ALLOWED = " -_"
RESERVED = (
    *("con", "prn", "aux", "nul", "clock"),
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
)
"""Names that no file can have on Windows."""


def safe_name(text: str, purpose: str) -> str:
    """Return `text` as a name, in the one form that Unicode has for each letter.

    Args:
        text: as it was typed or sent.
        purpose: what is to be named, as errors call it, such as ``a preset``.

    Raises:
        ParameterError: it is no name that every system can keep a file under.
    """
    name = normalize("NFC", text).strip(" ")
    shown = f'"{text:.40}" is no name for {purpose}'
    if len(name) > MAX_NAME:
        raise ParameterError(f"{shown}: it takes at most {MAX_NAME} characters, not {len(name)}")
    if not name or not all(map(_is_allowed, name)) or not _may_begin(name[0]):
        raise ParameterError(f"{shown}: it takes letters, digits, spaces, - and _")
    # Windows reads superscript and wide digits as digits here.
    if normalize("NFKC", name).casefold() in RESERVED:
        raise ParameterError(f"{shown}: Windows keeps it for itself; choose another")
    return name


def _is_allowed(character: str) -> bool:
    # Marks are the vowels and accents of many scripts.
    return character in ALLOWED or category(character)[0] in "LMN"


def _may_begin(character: str) -> bool:
    return character == "_" or category(character)[0] in "LN"
