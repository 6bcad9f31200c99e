"""The import rule of lib/__init__.py: to the left or within a room, no circles, no imports by a computed
name."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[1] / "lib"
FLOORS = [
    {"errors"},
    {"kernels", "settings"},
    {"itae", "losses", "features", "glow", "density", "scoring"},
    {"paths"},
    {"config"},
    {"datasets", "evaluation"},
    {"training", "pipeline"},
    {"evidence"},
    {"figures"},
    {"report"},
    {"commands"},
]
PAPER = FLOORS[2]
MODULES = {
    path.relative_to(LIB).with_suffix("").as_posix().replace("/", "."): path
    for path in sorted(LIB.rglob("*.py"))
    if path.name != "__init__.py"
}


def room(module: str) -> str:
    return module.split(".")[0]


def floor(module: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if room(module) in rooms)


def imported(source: str) -> set[str]:
    """The modules of lib that some code imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "lib" for alias in node.names), (
                "say: from lib... import ..."
            )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lib":
            assert node.level == 0
            name = node.module.removeprefix("lib").removeprefix(".")
            found |= (
                {name}
                if name in MODULES
                else {f"{name}.{alias.name}".removeprefix(".") for alias in node.names}
            )
    return found


ARROWS = {module: imported(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_own_room_or_from_the_left(module):
    for other in ARROWS[module]:
        assert other in MODULES, f"{module} imports lib.{other}, which is no module"
        same_room = room(module) == room(other) or {module, other} <= PAPER
        assert same_room or floor(other) < floor(module), (
            f"{module} imports {other}, which does not stand to its left"
        )


def test_there_is_no_circle():
    list(graphlib.TopologicalSorter(ARROWS).static_order())


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_by_a_computed_name(module):
    source = MODULES[module].read_text(encoding="utf-8")
    assert not re.search(r"import_module\(|(?<![\w'\"])__import__\(", source)


def test_names_of_modules_are_unique_because_code_versions_are_known_by_them():
    names = [path.stem for path in MODULES.values()]
    assert len(set(names)) == len(names)


def test_the_door_is_short():
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in LIB.glob("*.py"))
    assert lines < 1900


def test_the_map_names_every_module_of_the_door_and_every_room_and_the_rule_as_it_is_held():
    text = (LIB / "__init__.py").read_text(encoding="utf-8")
    for name in {room(module) for module in MODULES}:
        assert re.search(rf"^    {name} |`{name}`", text, flags=re.M), name
    rule = re.search(r"errors < kernels[^\n]*\n[^\n]*commands", text)[0]
    expected = [
        "errors",
        "kernels, settings",
        "the paper's six",
        "paths",
        "config",
        "datasets, evaluation",
        "training, pipeline",
        "evidence",
        "figures",
        "report",
        "commands",
    ]
    assert [part.strip() for part in rule.replace("\n", " ").split("<")] == expected


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES.values()} - {LIB}))
def test_a_room_says_what_is_in_it_and_re_exports_nothing(folder):
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    assert len(tree.body) == 1 and ast.get_docstring(tree)
