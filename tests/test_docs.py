"""The docs: what is made from the code is up to date, what is shown can be run."""

import importlib.util
import re
from pathlib import Path

import pytest

from streamcam.settings.config import build_config
from streamcam.settings.presets import find_presets, load_preset

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("page", ["settings", "osc", "command-line"])
def test_what_is_made_from_the_code_is_up_to_date(page: str) -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    made = getattr(generate, f"{page.replace('-', '_')}_page")()
    assert (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") == made


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        assert target.startswith("http") or (path.parent / target).exists(), target


@pytest.mark.parametrize("name", sorted(find_presets()))
def test_every_preset_is_valid(name: str) -> None:
    build_config([load_preset(name)])
