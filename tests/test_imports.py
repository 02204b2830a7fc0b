"""Imports point one way, and what must be light is light: read from the source, nothing is imported."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cai_lightning"
FLOORS = (
    {"run", "statistics"},
    {"models", "services"},
    {"principles"},
    {"data"},
    {"engines"},
    {"callbacks", "metrics"},
    {"modules"},
    {"report"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
"""Rooms from the ground up; what is on one floor is imported from above it alone."""

SHARED = {
    "engines": {"base", "batching", "slots", "transcripts"},
    "metrics": {"base", "rewards", "scoring"},
}
"""Rooms of interchangeable parts, and the files of each that its parts may know; of the others none knows another."""

SANDBOX_KNOWS = {"sandbox", "run", "principles", "services", "metrics"}


def name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path, everywhere=True):
    """The modules that a file imports; with `everywhere` also those imported inside functions and for types alone."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (whole for alias in node.names if (whole := f"{node.module}.{alias.name}") in FILES)


def own(path, everywhere=True):
    found = (module for module in imports(path, everywhere) if module.startswith("cai_lightning."))
    return {module for module in found if module in FILES}


def room(module):
    return module.split(".")[1]


@pytest.mark.parametrize("module", [m for m in FILES if m != "cai_lightning" and room(m) != "sandbox"])
def test_imports_point_down(module):
    place = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    assert room(module) in place, f"{room(module)} has no floor yet"
    for imported in own(FILES[module]):
        below = place.get(room(imported), 99) < place[room(module)]
        assert below or room(imported) == room(module), f"{module} imports {imported}"


def test_no_circle():
    """Within a room, too: what each file imports can be read before it."""
    doors = {module for module, path in FILES.items() if path.name == "__init__.py"}
    TopologicalSorter({module: own(path) - doors for module, path in FILES.items() if module not in doors}).prepare()


@pytest.mark.parametrize("folder", SHARED)
def test_parts_do_not_know_their_siblings(folder):
    parts = {path.stem for path in (PACKAGE / folder).glob("*.py")} - SHARED[folder] - {"__init__"}
    assert len(parts) >= 4
    for part in parts:
        siblings = {module.partition(f".{folder}.")[2] for module in own(PACKAGE / folder / f"{part}.py")}
        assert not siblings & parts, f"{folder}/{part}.py imports {siblings}"


def test_the_sandbox_knows_little_and_nothing_knows_the_sandbox():
    for module, path in FILES.items():
        rooms = {room(imported) for imported in own(path)}
        if module.startswith("cai_lightning.sandbox"):
            assert rooms <= SANDBOX_KNOWS, f"{module} imports {rooms - SANDBOX_KNOWS}"
        else:
            assert "sandbox" not in rooms, module


@pytest.mark.parametrize(
    "start",
    [
        "cai_lightning.__main__",
        "cai_lightning.cli.main",
        "cai_lightning.commands.compare",
        "cai_lightning.commands.inspect.command",
    ],
)
def test_compare_and_inspect_do_not_wait_for_torch(start):
    seen, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        heavy = {m.split(".")[0] for m in imports(FILES[module], everywhere=False)}
        assert not heavy & {"torch", "lightning", "transformers", "peft", "torchmetrics"}, module
        packages = {imported.rpartition(".")[0] for imported in own(FILES[module], everywhere=False)}
        waiting += own(FILES[module], everywhere=False) | (packages & FILES.keys())
    assert len(seen) > 3


@pytest.mark.parametrize(
    "optional", ["vllm", "openai", "ollama", "datasets", "pooch", "pydantic", "sentence_transformers"]
)
def test_optional_and_slow_packages_are_imported_where_they_are_used(optional):
    for module, path in FILES.items():
        assert optional not in {m.split(".")[0] for m in imports(path, everywhere=False)}, module


def test_the_command_line_does_not_wait_for_peft():
    code = "import sys, cai_lightning.cli.lightning_cli; print(sorted({'peft', 'bitsandbytes'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
