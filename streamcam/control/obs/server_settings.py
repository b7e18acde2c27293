"""Settings of the WebSocket server of an OBS on this machine, read from OBS's own files."""

import configparser
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

DEFAULT_PORT = 4455
MAX_BYTES = 1 << 20
SECTION = "OBSWebSocket"


class ServerSettings(NamedTuple):
    """Port and password of the server; no password where OBS asks for none."""

    port: int = DEFAULT_PORT
    password: str = ""


def read_server_settings(home: Path | None = None) -> ServerSettings:
    """Return the settings of the OBS of this user, the defaults where there are none.

    Args:
        home: the user's folder; by default, that of whoever runs streamcam.
    """
    for folder in _folders(home or Path.home()):
        with suppress(OSError, ValueError, KeyError, TypeError, configparser.Error):
            return _from_json(folder / "plugin_config" / "obs-websocket" / "config.json")
        with suppress(OSError, ValueError, KeyError, configparser.Error):
            return _from_ini(folder / "global.ini")
    return ServerSettings()


def _folders(home: Path) -> list[Path]:
    """Return the folders that OBS may keep its settings in, in its own packages too."""
    if sys.platform == "win32":
        return [home / "AppData" / "Roaming" / "obs-studio"]
    if sys.platform == "darwin":
        return [home / "Library" / "Application Support" / "obs-studio"]
    return [
        home / ".config" / "obs-studio",
        home / ".var" / "app" / "com.obsproject.Studio" / "config" / "obs-studio",
        home / "snap" / "obs-studio" / "current" / ".config" / "obs-studio",
    ]


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_BYTES).decode("utf-8-sig")


def _from_json(path: Path) -> ServerSettings:
    """Read the file of OBS 30 and later."""
    found = json.loads(_text(path))
    password = str(found["server_password"]) if found.get("auth_required", True) else ""
    return ServerSettings(int(found.get("server_port", DEFAULT_PORT)), password)


def _from_ini(path: Path) -> ServerSettings:
    """Read the file of OBS 28 and 29."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(_text(path))
    section = parser[SECTION]
    needs_password = section.getboolean("AuthRequired", fallback=True)
    password = section.get("ServerPassword", "") if needs_password else ""
    return ServerSettings(section.getint("ServerPort", fallback=DEFAULT_PORT), password)
