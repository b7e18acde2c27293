"""Imports go down only and never in circles, and torch stays where it belongs."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.media import run_script

ROOT = Path(__file__).resolve().parents[1] / "streamcam"

# From the top to the bottom; rooms on one level never meet, but for those at the bottom.
LEVELS = [
    {"__init__", "__main__"},
    {"cli"},
    {"api"},
    {"bench"},
    {"runtime"},
    {"control"},
    {"pipelines"},
    {"video"},
    {"diffusion"},
    {"models", "frames", "engines"},
    {"sources", "sinks"},
    {
        "embedded_model",
        "errors",
        "geometry",
        "limits",
        "pixels",
        "plugins",
        "redaction",
        "settings",
        "stats",
        "system",
        "types",
        "v4l2",
        "version",
    },
]
BOTTOM = len(LEVELS) - 1
TENSORS = {"torch", "torchvision", "diffusers", "transformers", "peft", "safetensors"}
TENSOR_ROOMS = {"models", "frames", "engines", "diffusion", "video", "bench"}

MODULES = sorted(ROOT.rglob("*.py"))


def room(parts: tuple[str, ...]) -> str:
    """Return the package or ground module that a path below ``streamcam`` belongs to."""
    return parts[0].removesuffix(".py") if parts else "__init__"


def level(name: str) -> int:
    return next(i for i, rooms in enumerate(LEVELS) if name in rooms)


def imported(module: Path) -> Iterator[str]:
    """Yield the full names that `module` imports, inside functions too."""
    package = ("streamcam", *module.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            # "from streamcam import sinks" imports a room, "from streamcam.types import X" a name.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def rooms_entered(module: Path) -> Iterator[str]:
    for name in imported(module):
        first, *rest = name.split(".")
        if first == "streamcam":
            known = rest and any(rest[0] in rooms for rooms in LEVELS)
            yield rest[0] if known else "__init__"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only_and_siblings_never_meet(module: Path) -> None:
    own = room(module.relative_to(ROOT).parts)
    for entered in rooms_entered(module):
        neighbour = level(own) == level(entered) == BOTTOM
        allowed = entered == own or neighbour or level(entered) > level(own)
        assert allowed, f"{own} may not import {entered}"


def module_name(module: Path) -> str:
    parts = ("streamcam", *module.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = {module_name(module) for module in MODULES}
    graph = {
        module_name(module): {
            # A name of a module, or a module of a package.
            name if name in known else name.rpartition(".")[0]
            for name in imported(module)
            if name.startswith("streamcam")
        }
        for module in MODULES
    }
    graph.pop("streamcam")  # Its names are imported when they are first used.
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_only_pipelines_asks_which_pipeline_runs() -> None:
    asks = re.compile(r"""\bpipeline\s*(==|!=|in\s*[("'])|["'](image|video)["']\s*(==|!=)""")
    asking = {
        str(module.relative_to(ROOT))
        for module in MODULES
        if asks.search(module.read_text(encoding="utf-8"))
    }
    assert asking <= {"pipelines.py"}


def test_no_stream_is_asked_for_members_that_it_may_lack() -> None:
    for module in MODULES:
        text = module.read_text(encoding="utf-8")
        assert not re.search(r"\b(getattr|hasattr)\((self\._)?stream\b", text), module


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_tensor_rooms_import_torch(module: Path) -> None:
    if room(module.relative_to(ROOT).parts) not in TENSOR_ROOMS:
        heavy = {name.split(".")[0] for name in imported(module)} & TENSORS
        assert not heavy, f"{module.relative_to(ROOT)} imports {', '.join(heavy)}"


def test_every_module_has_a_level() -> None:
    rooms = {room(module.relative_to(ROOT).parts) for module in MODULES}
    assert rooms <= set().union(*LEVELS)


def test_the_command_line_answers_without_torch() -> None:
    script = """
        import importlib, pkgutil
        import streamcam
        rooms = ["cli", "runtime", "control", "sources", "sinks"]
        for name in rooms:
            package = importlib.import_module(f"streamcam.{name}")
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"streamcam.{name}.{module.name}")
        print(sorted({"torch", "diffusers", "transformers"} & set(sys.modules)))
    """
    assert run_script(script, "") == "[]\n"


def test_imports_inside_functions_are_seen() -> None:
    module = ROOT / "cli" / "models.py"
    assert "models" in set(rooms_entered(module))
    assert level("cli") < level("runtime") < level("engines") < level("sinks") < BOTTOM
