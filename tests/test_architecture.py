"""The house stands on its floors: imports go down only, and torch stays where it belongs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.media import ran

ROOT = Path(__file__).resolve().parents[1] / "streamcam"

# From the top to the bottom; rooms on one level never meet, but for those at the bottom.
FLOORS = [
    {"__init__", "__main__"},
    {"cli"},
    {"bench"},
    {"runtime"},
    {"control"},
    {"pipelines"},
    {"video"},
    {"diffusion"},
    {"models", "frames", "engines"},
    {"sources", "sinks"},
    {
        "child_process",
        "embedded",
        "errors",
        "geometry",
        "pixels",
        "plugins",
        "settings",
        "stats",
        "types",
        "v4l2",
        "version",
    },
]
GROUND = len(FLOORS) - 1
TENSORS = {"torch", "torchvision", "diffusers", "transformers", "peft", "safetensors"}
TENSOR_ROOMS = {"models", "frames", "engines", "diffusion", "video", "bench"}

MODULES = sorted(ROOT.rglob("*.py"))


def room(parts: tuple[str, ...]) -> str:
    """Return the package or ground module that a path below ``streamcam`` belongs to."""
    return parts[0].removesuffix(".py") if parts else "__init__"


def floor(name: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if name in rooms)


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
            known = rest and any(rest[0] in rooms for rooms in FLOORS)
            yield rest[0] if known else "__init__"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only_and_siblings_never_meet(module: Path) -> None:
    own = room(module.relative_to(ROOT).parts)
    for entered in rooms_entered(module):
        neighbour = floor(own) == floor(entered) == GROUND
        allowed = entered == own or neighbour or floor(entered) > floor(own)
        assert allowed, f"{own} may not import {entered}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_tensor_rooms_import_torch(module: Path) -> None:
    if room(module.relative_to(ROOT).parts) not in TENSOR_ROOMS:
        heavy = {name.split(".")[0] for name in imported(module)} & TENSORS
        assert not heavy, f"{module.relative_to(ROOT)} imports {', '.join(heavy)}"


def test_every_module_has_a_floor() -> None:
    rooms = {room(module.relative_to(ROOT).parts) for module in MODULES}
    assert rooms <= set().union(*FLOORS)


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
    assert ran(script, "") == "[]\n"


def test_imports_inside_functions_are_seen() -> None:
    module = ROOT / "cli" / "models.py"
    assert "models" in set(rooms_entered(module))
    assert floor("cli") < floor("runtime") < floor("engines") < floor("sinks") < GROUND
