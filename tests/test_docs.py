"""The docs: what is made from the code is up to date, what is shown can be run."""

import importlib.util
import re
from pathlib import Path

import pytest

from streamcam.settings.config_layers import build_config
from streamcam.settings.presets import find_presets, load_preset

ROOT = Path(__file__).resolve().parents[1]
ON_GITHUB = "https://github.com/streamcam/streamcam/blob/main/"


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


def test_the_readme_has_no_relative_links_as_the_package_page_shows_it_too() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)|(?:src|href)=\"([^\"#]+)", text)
    assert targets
    for target in filter(None, (either for pair in targets for either in pair)):
        assert target.startswith("https://"), target
        assert not target.startswith(ON_GITHUB) or (ROOT / target.removeprefix(ON_GITHUB)).exists()


@pytest.mark.parametrize("name", sorted(find_presets()))
def test_every_preset_is_valid(name: str) -> None:
    build_config([load_preset(name)])


def test_every_page_is_reached_from_the_readme_and_the_site() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert {page for page in pages if f"({ON_GITHUB}docs/{page})" not in readme} == set()
    assert {
        page for page in pages if not re.search(rf"^{page[:-3]}$", index, re.MULTILINE)
    } == set()
