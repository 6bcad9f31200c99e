"""What every notebook must be like before it runs: its cells, its parameters, and that what it names exists."""
import ast
import importlib
import re
from pathlib import Path

import nbformat
import papermill
import pytest

from lib.steps import STEPS

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LINE = re.compile(r"^(\w+): (\w+) = (.+?)  # (\S.*)$")               # name: type = value  # help
READ = {"profile", "dataset", "variant", "seed", "settings"}         # what the pipeline hands to a step's notebook


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def tagged(notebook):
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]


def test_there_is_a_notebook_for_every_step():
    assert NOTEBOOKS
    missing = [step.notebook for step in STEPS.values() if not (ROOT / "notebooks" / f"{step.notebook}.ipynb").exists()]
    assert not missing


def test_is_valid_and_every_cell_has_its_own_name(notebook):
    nbformat.validate(notebook)
    names = [cell.get("id") for cell in notebook.cells]
    assert all(names) and len(set(names)) == len(names)


def test_holds_no_outputs(notebook):
    assert not [cell.source[:60] for cell in code(notebook) if cell.outputs or cell.execution_count is not None]


def test_parameters_are_one_cell_that_papermill_reads(path, notebook):
    assert len(tagged(notebook)) == 1
    lines = tagged(notebook)[0].source.splitlines()
    unlike = [line for line in lines if not LINE.match(line)]
    assert not unlike, "a parameter is written `name: type = value  # help`"
    found = papermill.inspect_notebook(str(path))
    assert list(found) == [LINE.match(line)[1] for line in lines]
    for line in lines:
        name, kind, value, words = LINE.match(line).groups()
        assert [found[name][key] for key in ("inferred_type_name", "default", "help")] == [kind, value, words]
        assert type(ast.literal_eval(value)).__name__ == kind, line


@pytest.mark.parametrize("step", STEPS)
def test_a_steps_notebook_takes_what_the_pipeline_hands_it(step):
    path = ROOT / "notebooks" / f"{STEPS[step].notebook}.ipynb"
    names = {LINE.match(line)[1] for line in tagged(nbformat.read(path, as_version=4))[0].source.splitlines()}
    assert names <= READ | ({"size"} if step == "figure" else set())
    assert "profile" in names
    assert "settings" in names or not STEPS[step].reads, "what a step reads can be set"
    assert ("dataset" in names) == (STEPS[step].per != "all"), "a step of one data set is told which"
    assert ("seed" in names) == (STEPS[step].per == "seed")
    assert ("variant" in names) == (STEPS[step].variants != ("",))


def test_opens_with_a_title_and_the_box(notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    rows = re.findall(r"^\| \*\*(\w+)\*\* \| (.+) \|$", first.source, flags=re.M)
    assert [name for name, _ in rows] == ["Goal", "Needs", "Gives", "Time", "Paper"]
    assert all(text.strip() for _, text in rows)


def test_ends_with_a_summary(notebook):
    assert re.search(r"^## Summary", markdown(notebook)[-1].source, flags=re.M)


def test_code_is_short_and_nothing_but_python(notebook):
    for cell in code(notebook):
        assert len(cell.source.splitlines()) <= 30, cell.source[:80]
        outside = [line for line in cell.source.splitlines() if re.match(r"\s*(!|%|class )", line)]
        assert not outside, "no class, shell escape or magic in a notebook"
        ast.parse(cell.source)


def test_what_is_imported_from_the_library_exists(notebook):
    used = [node for cell in code(notebook) for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lib"]
    assert used, "a notebook shows the library"
    for node in used:
        for name in node.names:
            if node.module == "lib":
                assert (ROOT / "lib" / f"{name.name}.py").exists(), f"from lib import {name.name}"
            else:
                assert hasattr(importlib.import_module(node.module), name.name), ast.unparse(node)


def test_what_is_called_of_the_library_exists(notebook):
    """`losses.l2_loss` in a cell: there is an `l2_loss` in lib/losses.py, unless `losses` is a variable there."""
    tree = ast.parse("\n".join(cell.source for cell in code(notebook)))
    modules = {name.asname or name.name: name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
               and node.module == "lib" for name in node.names}
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        owner = node.value if isinstance(node, ast.Attribute) else None
        if isinstance(owner, ast.Name) and owner.id in modules.keys() - bound:
            assert hasattr(importlib.import_module(f"lib.{modules[owner.id]}"), node.attr), ast.unparse(node)
