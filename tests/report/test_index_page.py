"""The report page against hand-made records: what it shows, what it says is missing, and that it needs nothing else."""

import json
import os
import re
import shutil
from html.parser import HTMLParser

import made_records as made
import pytest

from lib import paths
from lib.pipeline import records
from lib.pipeline.steps import Job
from lib.report import index_page, notebook_pages

VOID = {"meta", "br", "img", "link", "input", "hr", "path"}


class Page(HTMLParser):
    """A page read: its text, links, ids, and whether its tags close in order."""

    def __init__(self, path):
        super().__init__()
        self.folder, self.open, self.ids, self.links, self.sources, self.words = (
            path.parent,
            [],
            set(),
            [],
            [],
            [],
        )
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.links += [attributes["href"]] if "href" in attributes else []
        self.sources += [attributes["src"]] if "src" in attributes else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def broken(self):
        """Links and pictures that lead nowhere, or out of the report's folder."""
        files = [name for name in self.links + self.sources if not name.startswith("#")]
        return [name for name in files if re.match(r"\w+:|//", name) or not (self.folder / name).exists()] + [
            name for name in self.links if name.startswith("#") and name[1:] not in self.ids
        ]


@pytest.fixture
def reports(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    shutil.copytree(made.complete(), tmp_path / "reports")
    return tmp_path / "reports"


def whole(seed=0):
    return Job("quick", "ped2", "score", "app_intensity_mot", seed)


def test_the_page_shows_what_is_on_record(reports):
    path = index_page.write("quick")
    assert path == reports / "quick" / "index.html"
    page = Page(path)
    auc = f"{records.read(whole().folder)['metrics']['auc']:.3f}"
    assert page.text.count(auc) >= 3 and "UCSD Ped2" in page.text and "0.973" in page.text
    for words in (
        "C5",
        "replicated where tested",
        "frame position",
        "min-max per clip",
        "a processor, 2 cores, 8.0 GiB",
        "torch 2.14.1",
        "c0ffee0",
        "autoencoder.steps",
        "score/app_intensity_mot/seed0",
        "Not run: CUHK Avenue, ShanghaiTech.",
    ):
        assert words in page.text, words
    assert not page.broken()


def test_a_changed_record_changes_the_page_where_it_is_shown(reports):
    before = index_page.write("quick").read_text()
    auc = records.read(whole().folder)["metrics"]["auc"]
    made.change(whole(), lambda r: r["metrics"].update(auc=0.4321))
    after = index_page.write("quick").read_text()
    assert "0.432" not in before and after.count("0.432") >= 3
    assert after.count(f"{auc:.3f}") < before.count(f"{auc:.3f}")


def test_what_is_missing_says_so(reports):
    (whole().folder / "run.json").unlink()
    (Job("quick", "ped2", "flow", "mot", 0).folder / "run.json").unlink()
    text = Page(index_page.write("quick")).text
    assert "UCSD Ped2 not run AUC, two paths with both flows" in text
    assert "flow/mot/seed0 not run" in text and "score/app_intensity_mot/seed0 not run" in text
    assert "Figure 4. Likelihoods of normal and abnormal frames" in text.split("Figures Not run:")[1]


def test_a_page_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path))
    page = Page(index_page.write("quick"))
    assert "0 complete runs" in page.text and "not run" in page.text and not page.broken()


def test_failures_are_shown_as_text(reports):
    made.change(whole(), lambda r: r.update(status="failed", error="A <b>thing</b> & more went wrong"))
    path = index_page.write("quick")
    assert "A <b>thing</b> & more went wrong" in Page(path).text and "1 failed" in Page(path).text
    assert "&lt;b&gt;thing" in path.read_text()


def test_runs_that_would_run_again_say_why(reports):
    text = Page(index_page.write("quick")).text
    # The made code versions are none of the kit's.
    assert "out of date" in text and re.search(r"Would run again: the code of \w+", text)


def test_subsets_and_missing_intervals_are_marked(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path))
    made.scored("avenue", "app_intensity_mot", subset=True)
    page = Page(index_page.write("quick"))
    assert "(subset)" in page.text and "not comparable with the paper" in page.text
    assert "95 % interval – seeds 1 (seed 0)" in page.text


def test_figures_are_linked(reports):
    folder = paths.figures("quick")
    folder.mkdir(parents=True)
    for name in ("fig4_ped2.svg", "fig4_ped2.png", "fig4_ped2.csv", "roc.png", "extra_thing.svg"):
        (folder / name).write_text("<svg/>")
    page = Page(index_page.write("quick"))
    assert page.sources == ["figures/fig4_ped2.svg", "figures/roc.png", "figures/extra_thing.svg"]
    assert "Figure 4. Likelihoods of normal and abnormal frames, UCSD Ped2" in page.text
    assert "figures/fig4_ped2.csv" in page.links
    assert not page.broken()


def test_tables_are_made_by_the_protocol_on_record(reports):
    job = Job("quick", "all", "table3")
    made.record(job, settings={"evaluate.smoothing": 3.0})
    assert "Gaussian smoothing of 3 frames" in Page(index_page.write("quick")).text


# -- pages of notebooks


def notebook(job, *cells):
    name = index_page.STEPS[job.step].notebook
    made_cells = [
        {"cell_type": "markdown", "metadata": {}, "id": f"m{i}", "source": text}
        for i, text in enumerate(cells)
    ]
    made_cells.append(
        {
            "cell_type": "code",
            "metadata": {},
            "id": "c",
            "execution_count": 1,
            "source": "price = '$5$'",
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "AUC of $x$\n"}],
        }
    )
    path = job.folder / f"{name}.ipynb"
    path.write_text(json.dumps({"cells": made_cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_executed_notebooks_become_pages_once(reports):
    path = notebook(
        whole(),
        "# A title\n\n$$ S_t = \\frac{R}{L} < 1 \\tag{9} $$\n\n"
        "with `$code$` and $\\lambda_L$, and $\\nonsense{$.",
    )
    index = Page(index_page.write("quick"))
    at = path.with_suffix(".html")
    assert f"runs/ped2/score/app_intensity_mot/seed0/{at.name}" in index.links and not index.broken()
    text = at.read_text()
    page = Page(at)
    assert "<title>S_t = \\frac{R}{L} &lt; 1 \\tag{9}</title>" in text and text.count('class="equation"') == 2
    assert all(words in page.text for words in ("$code$", "'$5$'", "AUC of $x$", "nonsense"))
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text) and not page.broken()
    written = at.stat().st_mtime_ns
    index_page.write("quick")
    assert at.stat().st_mtime_ns == written
    os.utime(path, ns=(written + 10**9, written + 10**9))
    index_page.write("quick")
    assert at.stat().st_mtime_ns != written


def test_an_equation_stands_on_the_line():
    svg = notebook_pages.with_equations("<p>of $x_t$ here</p>")
    depth = float(re.search(r"vertical-align:(-?[\d.]+)em", svg)[1])
    height = float(re.search(r"height:([\d.]+)em", svg)[1])
    assert (
        -0.5 < depth < 0 < height < 1.5 and svg.startswith("<p>of <svg") and svg.endswith("</svg> here</p>")
    )
    assert notebook_pages.with_equations("<p>$5</p><p>and $6</p>") == "<p>$5</p><p>and $6</p>"
    assert notebook_pages.with_equations('<a title="$x$">it</a>') == '<a title="$x$">it</a>'
