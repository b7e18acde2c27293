import json
import sys
from pathlib import Path

import pytest

from streamcam.control.obs.server_settings import ServerSettings, read_server_settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other folders elsewhere")

INI = (
    "[General]\nName=%s\n[OBSWebSocket]\nServerPort=4460\nAuthRequired={auth}\nServerPassword=a%b\n"
)


def write(home: Path, name: str, text: str, *, encoding: str = "utf-8") -> None:
    path = home / ".config" / "obs-studio" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def test_the_file_of_a_new_obs_comes_before_that_of_an_old_one(tmp_path: Path) -> None:
    assert read_server_settings(tmp_path) == ServerSettings(4455, "")
    write(tmp_path, "global.ini", INI.format(auth="true"), encoding="utf-8-sig")
    assert read_server_settings(tmp_path) == ServerSettings(4460, "a%b")
    new = {"server_port": 4470, "server_password": "secret", "auth_required": True}
    write(tmp_path, "plugin_config/obs-websocket/config.json", json.dumps(new))
    assert read_server_settings(tmp_path) == ServerSettings(4470, "secret")


def test_a_server_without_a_password_needs_none(tmp_path: Path) -> None:
    write(tmp_path, "global.ini", INI.format(auth="false"))
    assert read_server_settings(tmp_path) == ServerSettings(4460, "")


@pytest.mark.parametrize("text", ["", "[", "no settings", '{"server_port": []}', "[OBSWebSocket"])
def test_damaged_files_are_as_good_as_none(tmp_path: Path, text: str) -> None:
    write(tmp_path, "global.ini", text)
    write(tmp_path, "plugin_config/obs-websocket/config.json", text)
    assert read_server_settings(tmp_path) == ServerSettings()
