"""The plan of the house: imports go one way, one room prints, one room imports torch, and nothing grows past what a screen holds."""

import ast
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

# what each room may import beside itself; `|` in docs/changing-the-kit.md: data and checkpoints don't know each other, nor plan and launch
LOWEST = {"findings", "files"}
MAY_IMPORT = {
    "files": set(),
    "findings": {"files"},
    "machine": LOWEST,
    "config": LOWEST | {"machine"},
    "postgres": LOWEST | {"machine"},
    "data": LOWEST | {"machine", "config", "postgres"},
    "checkpoints": LOWEST | {"machine", "config"},
    "plan": LOWEST | {"machine", "config", "data", "checkpoints"},
    "launch": LOWEST | {"machine", "config", "data", "checkpoints"},
    "request": LOWEST | {"machine", "config", "data"},
    "result": LOWEST | {"machine", "config", "data", "checkpoints", "plan", "launch"},
    "pipeline": LOWEST | {"machine", "config", "data", "checkpoints", "plan", "launch", "request", "result"},
    "training": LOWEST | {"machine", "config", "data", "checkpoints", "plan", "postgres"},
    "outcomes": LOWEST | {"machine", "config", "checkpoints", "plan", "training"},
    "remote": LOWEST | {"machine", "config", "data", "checkpoints"},
    "cli": LOWEST | {"machine", "config", "data", "checkpoints", "plan", "launch", "request", "result", "pipeline", "training", "outcomes", "remote"},
}
# the names that notebooks, scripts and YAMLs call: each hands on to a room and does nothing itself
NAMES = {
    "__main__": "cli",
    "mirror": "cli",
    "evaluation": "cli",
    "ask": "cli",
    "runs": "cli",
    "packaging": "cli",
    "tensorboard": "cli",
    "notebook": "cli",
    "axolotl_plugin": "training",
    "answer_only": "training",
    "remote/__main__": "cli",
}
HEAVY = {"torch", "transformers", "axolotl", "accelerate", "peft", "bitsandbytes", "datasets", "trl"}
# what the mirror's process runs on: it starts beside training on whatever Python that has
STANDARD_LIBRARY_ONLY = (
    "files.py",
    "machine/run_folder.py",
    "machine/answering.py",
    "checkpoints/manifest.py",
    "checkpoints/copies.py",
    "checkpoints/mirror.py",
    "cli/mirror.py",
    "cli/console.py",
)
LONGEST_FUNCTION, LONGEST_MODULE = 60, 250
TABLES = {"machine/platforms", "data/prompt_strategies", "config/checks", "training/plugin"}  # whose __init__ holds more than a docstring

SOURCES = {path.relative_to(CHECKOUT / "preflight").as_posix(): path.read_text() for path in sorted((CHECKOUT / "preflight").rglob("*.py"))}


def room_of(name: str) -> str:
    return name.removesuffix(".py").partition("/")[0]


def imports(source: str):
    """Every module that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ([f"{node.module}.{alias.name}" for alias in node.names] if node.module == "preflight" else [node.module])


def violations(sources):
    """Each import, print or torch that the plan does not allow, as `file: what`."""
    for name, source in sources.items():
        room = room_of(name)
        if room == "__init__":
            continue
        called = name.removesuffix(".py") if name.removesuffix(".py") in NAMES else room
        allowed = {NAMES[called]} if called in NAMES else MAY_IMPORT[room] | {room}
        for module in imports(source):
            top, _, rest = module.partition(".")
            if top == "preflight" and rest.partition(".")[0] not in allowed:
                yield f"{name}: {room} imports {module}"
            if top in HEAVY and room != "training":
                yield f"{name}: {module} belongs into training/"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print" and room != "cli":
                yield f"{name}: prints in line {node.lineno}"


def test_imports_go_one_way_one_room_prints_and_one_imports_torch():
    assert list(violations(SOURCES)) == []


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("data/rows.py", "from preflight.checkpoints.mirror import FINAL", "data imports preflight.checkpoints.mirror"),
        ("plan/cost.py", "from preflight.launch.command import Command", "plan imports preflight.launch.command"),
        ("config/layers.py", "from preflight.data.stage import Data", "config imports preflight.data.stage"),
        ("machine/gpu.py", "from preflight.pipeline import preflight", "machine imports preflight.pipeline"),
        ("plan/steps.py", "import torch", "torch belongs into training/"),
        ("cli/text.py", "import axolotl.cli", "axolotl.cli belongs into training/"),
        ("launch/stage.py", "print('written')", "prints in line"),
        ("pipeline.py", "from preflight import cli", "pipeline imports preflight.cli"),
        ("mirror.py", "from preflight.checkpoints.mirror import mirror", "mirror imports preflight.checkpoints.mirror"),
    ],
)
def test_the_rules_see_what_they_forbid(name, line, says):
    (found,) = violations(SOURCES | {name: f"{SOURCES[name]}\n{line}\n"})
    assert found.startswith(f"{name}: ")
    assert says in found


def test_the_mirror_needs_the_standard_library_and_nothing_else():
    seen, left = set(), list(STANDARD_LIBRARY_ONLY)
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        tree = ast.parse(SOURCES[name])
        top_level = ast.unparse(ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], []))
        for module in imports(top_level):
            if module.startswith("preflight."):
                path = module.removeprefix("preflight.").replace(".", "/")
                left += [f"{path}.py"] if f"{path}.py" in SOURCES else []
            else:
                assert module.partition(".")[0] in sys.stdlib_module_names, f"{name} imports {module}"
    assert "findings.py" in seen


def test_each_room_says_what_belongs_there_and_a_door_is_its_stage():
    rooms = {Path(name).parent.as_posix() for name in SOURCES if "/" in name}
    for room in rooms:
        tree = ast.parse(SOURCES[f"{room}/__init__.py"])
        assert ast.get_docstring(tree), room
        assert room in TABLES or len(tree.body) == 1, room
    for room in ("machine", "config", "data", "checkpoints", "plan", "launch"):
        assert f"{room}/stage.py" in SOURCES
    doors = {module for name in ("pipeline.py", "result.py") for module in imports(SOURCES[name]) if module.startswith("preflight.")}
    assert {door for door in doors if door.count(".") > 1 and not door.endswith(".stage")} == {
        "preflight.config.settings",
        "preflight.config.yaml_file",
        "preflight.machine.answering",
    }


def test_nothing_is_longer_than_a_person_reads_at_once():
    for name, source in SOURCES.items():
        assert len(source.splitlines()) <= LONGEST_MODULE, name
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{name}: {node.name}"
    pipeline = SOURCES["pipeline.py"]
    assert len(pipeline.splitlines()) < 100
    assert len(list(imports(pipeline))) <= 15


def test_the_tests_stand_where_the_code_does():
    """A room of the package has a room of the tests, and a test file there is of a room that exists."""
    folders = {
        path.parent.relative_to(CHECKOUT / "tests").parts[0] for path in (CHECKOUT / "tests").rglob("test_*.py") if path.parent.name != "tests"
    }
    assert folders == {room_of(name) for name in SOURCES if "/" in name} | {"acceptance"}
