"""What every notebook must be like before it runs: its cells, its parameters, and that what it names
exists."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import nbformat
import papermill
import pytest

from lib.commands import cli
from lib.config import parameters, resolve
from lib.figures import how_to_read
from lib.pipeline import records
from lib.pipeline.steps import FIGURES, STEPS
from lib.settings.values import DATASETS

ROOT = Path(__file__).resolve().parents[2]
# Where each module of the library lies, by its own name: {"scoring": "lib.scoring", "stage1":
# "lib.training.stage1"}.
LIB = {
    path.stem: ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "lib").rglob("*.py")
    if path.stem != "__init__"
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LINE = re.compile(r"^(\w+): (\w+) = (.+?)  # (\S.*)$")  # name: type = value  # help
READ = {"profile", "dataset", "variant", "seed", "settings"}  # what the pipeline hands to a step's notebook


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
    missing = [
        step.notebook
        for step in STEPS.values()
        if not (ROOT / "notebooks" / f"{step.notebook}.ipynb").exists()
    ]
    assert not missing


def test_is_valid_and_every_cell_has_its_own_name(notebook):
    nbformat.validate(notebook)
    names = [cell.get("id") for cell in notebook.cells]
    assert all(names) and len(set(names)) == len(names)


def test_holds_no_outputs(notebook):
    assert not [
        cell.source[:60] for cell in code(notebook) if cell.outputs or cell.execution_count is not None
    ]


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
    assert names <= READ
    assert "profile" in names
    assert "settings" in names or not STEPS[step].reads, "what a step reads can be set"
    assert ("dataset" in names) == (STEPS[step].per != "all"), "a step of one data set is told which"
    assert ("seed" in names) == (STEPS[step].per == "seed")
    assert ("variant" in names) == (STEPS[step].variants != ("",))


@pytest.mark.parametrize("step", STEPS)
def test_a_steps_notebook_begins_that_step_with_its_parameters(step):
    notebook = nbformat.read(ROOT / "notebooks" / f"{STEPS[step].notebook}.ipynb", as_version=4)
    calls = [
        node
        for cell in code(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "begin"
    ]
    assert len(calls) == 1 and calls[0].args[0].value == step
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in calls[0].keywords}
    names = {LINE.match(line)[1] for line in tagged(notebook)[0].source.splitlines()} & READ
    assert set(given) == names, "what is asked for is used"
    assert all(value.split()[0] == name for name, value in given.items())  # settings may be added to


@pytest.mark.parametrize("step", STEPS)
def test_parameters_as_they_stand_and_their_examples_are_valid(step):
    source = tagged(nbformat.read(ROOT / "notebooks" / f"{STEPS[step].notebook}.ipynb", as_version=4))[
        0
    ].source
    lines = {m[1]: m for line in source.splitlines() if (m := LINE.match(line))}
    values = {name: ast.literal_eval(m[3]) for name, m in lines.items()}
    assert (values["profile"], values.get("dataset", "synthetic"), values.get("seed", 0)) == (
        "quick",
        "synthetic",
        0,
    )
    assert values.get("variant", STEPS[step].variants[0]) in STEPS[step].variants
    assert values.get("settings", {}) == {}
    example = re.search(r"\{.*\}", lines["settings"][4]) if "settings" in lines else None
    if example:
        settings = ast.literal_eval(example[0])
        for dataset in DATASETS:
            resolve("quick", dataset, settings)
        assert {name.split(".")[0] for name in settings} <= set(STEPS[step].reads), (
            "the example changes something"
        )


def test_no_check_allows_for_rounding_relative_to_what_may_be_zero(notebook):
    """A sum that crosses zero has any relative error: `notebook_run.adds_up` takes the size of what is
    summed."""
    for cell in code(notebook):
        for claim in re.findall(r"check\((.*?)\)\n", cell.source + "\n", flags=re.S):
            assert "rtol" not in claim and ("allclose" not in claim or "atol" in claim), claim


def test_runs_from_wherever_it_lies_and_ends_by_saying_what_came_out(notebook):
    cells = code(notebook)
    assert "sys.path.insert" in cells[0].source and "parameters" in cells[1].metadata.tags
    finishing = [i for i, cell in enumerate(cells) if "run.finish(" in cell.source]
    assert len(finishing) == 1 and cells[finishing[0]].source.count("run.finish(") == 1
    # After the result only what is tried by hand.
    assert all(cell.source.startswith("if run.by_hand") for cell in cells[finishing[0] + 1 :])


def test_says_where_in_figure_2_it_is(notebook):
    assert sum("you_are_here(run.config" in cell.source for cell in code(notebook)) == 1


def test_opens_with_a_title_and_the_box(path, notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    title, _, purpose = first.source.splitlines()[:3]
    assert re.match(rf"# {int(path.stem[:2])} · \S", title), "its title has its number"
    assert purpose and not purpose.startswith(("|", "#")), "what it is for, in a line"
    rows = re.findall(r"^\| \*\*(\w+)\*\* \| (.+) \|$", first.source, flags=re.M)
    assert [name for name, _ in rows] == ["Goal", "Needs", "Gives", "Time", "Paper"]
    assert all(text.strip() for _, text in rows)


def test_ends_with_a_summary_and_something_to_try(notebook):
    """A heading, a cell that is ready, what to look for, and the answer folded."""
    summary, question, cell, answer = notebook.cells[-4:]
    assert summary.source.startswith("## Summary\n") and "**References**" in summary.source
    assert question.source.startswith("## Try\n")
    assert cell.cell_type == "code" and cell.source.startswith("if run.by_hand")
    assert answer.source.count("<details><summary>") == 1 and answer.source.rstrip().endswith("</details>")


DRAWS = re.compile(r"plt\.subplot|glow_drawings\.|typesetting\.face\(|display\(Image")


def sentences(text):
    """How many sentences a text has before its first heading."""
    return len(re.findall(r"[.?!](?=\s|$)", re.split(r"^#", text, maxsplit=1, flags=re.M)[0]))


def test_after_each_figure_stand_two_sentences_on_what_one_sees(notebook):
    for cell, after in zip(notebook.cells, notebook.cells[1:]):
        if cell.cell_type == "code" and DRAWS.search(cell.source):
            told = after.cell_type == "markdown" and sentences(after.source) >= 2
            assert told or "HOW_TO_READ[variant]" in after.source, cell.source[:80]


def test_each_figure_of_the_pipeline_is_explained():
    assert set(how_to_read.HOW_TO_READ) == set(FIGURES)
    assert all(sentences(text) >= 2 for text in how_to_read.HOW_TO_READ.values())


def test_the_table_of_parameters_is_folded_at_the_end(notebook):
    shown = [i for i, cell in enumerate(notebook.cells) if "settings_table(run" in cell.source]
    assert len(shown) <= 1 and all(i > len(notebook.cells) - 9 for i in shown)


def test_links_lead_to_notebooks_that_are_there(notebook):
    for cell in markdown(notebook):
        for target in re.findall(r"\]\((\d\d_\w+\.ipynb)\)", cell.source):
            assert (ROOT / "notebooks" / target).exists(), target


def test_code_is_short_and_nothing_but_python(notebook):
    for cell in code(notebook):
        assert len(cell.source.splitlines()) <= 30, cell.source[:80]
        outside = [line for line in cell.source.splitlines() if re.match(r"\s*(!|%|class )", line)]
        assert not outside, "no class, shell escape or magic in a notebook"
        tree = ast.parse(cell.source)
        called = {
            ast.unparse(node.func).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Call)
        }
        assert not called & {"subprocess", "get_ipython", "exec", "eval"} and "os.system" not in cell.source
        for node in ast.walk(tree):  # nothing fails in silence
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None and not isinstance(node.body[0], ast.Pass)


def test_what_is_imported_from_the_library_exists(notebook):
    used = [
        node
        for cell in code(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lib"
    ]
    assert used, "a notebook shows the library"
    for node in used:
        for name in node.names:
            if f"{node.module}.{name.name}" not in LIB.values():
                assert hasattr(importlib.import_module(node.module), name.name), ast.unparse(node)


def test_what_is_called_of_the_library_exists(notebook):
    """`losses.l2_loss` in a cell: there is an `l2_loss` in lib/losses.py, unless `losses` is a variable
    there."""
    tree = ast.parse("\n".join(cell.source for cell in code(notebook)))
    modules = {
        name.asname or name.name: f"{node.module}.{name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lib"
        for name in node.names
        if f"{node.module}.{name.name}" in LIB.values()
    }
    bound = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(tree):
        owner = node.value if isinstance(node, ast.Attribute) else None
        if isinstance(owner, ast.Name) and owner.id in modules.keys() - bound:
            assert hasattr(importlib.import_module(modules[owner.id]), node.attr), ast.unparse(node)


def test_what_the_text_names_of_the_library_exists(notebook):
    """`losses.l2_loss` between backticks, and `lib/losses.py`; `glow.encode` may be what an object called
    glow does."""
    text = "\n".join(cell.source for cell in markdown(notebook))
    for module, name in re.findall(r"`(\w+)\.(\w+)(?:\([^`]*\))?`", text):
        if (
            module in LIB
            and name not in ("py", "csv", "json", "npz", "md")
            and f"{module}.{name}" not in parameters()
        ):
            inside = importlib.import_module(LIB[module])
            assert any(hasattr(one, name) for one in (inside, *vars(inside).values())), f"{module}.{name}"
    for name in re.findall(r"`((?:lib|tests|benchmarks|data|notebooks)/[\w/]+\.\w+)`", text):
        assert (ROOT / name).exists(), name


def test_commands_that_it_names_are_understood(notebook):
    text = "\n".join(cell.source for cell in notebook.cells)
    for command in re.findall(r"[`(](\./run_all\.sh[^`)\n{}]*)[`)]", text):
        if not command.endswith("--data-root") and not re.search("NAME=VALUE|FOLDER", command):
            options = cli.parser().parse_args(shlex.split(command)[1:])
            if options.targets != ["lab"]:
                cli.understand(options)


def test_the_first_notebook_needs_no_torch():
    """Who wants to look around should not wait for it."""
    todo, seen = (
        records.imports_of(records.notebook_source(ROOT / "notebooks" / "00_start_here.ipynb")),
        set(),
    )
    while todo:
        name = todo.pop()
        seen.add(name)
        top = [
            node
            for node in ast.parse((ROOT / "lib" / f"{name.replace('.', '/')}.py").read_text()).body
            if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        source = "\n".join(ast.unparse(node) for node in top)
        assert not re.search(r"^(import|from) torch", source, flags=re.M), name
        todo |= records.imports_of(source) - seen
