"""The report page against hand-made records: what it shows, what it says is missing, and that it needs
nothing else."""

import json
import os
import re
import shutil
from html.parser import HTMLParser

import made_records as made
import pytest
from PIL import Image

from lib import paths
from lib.pipeline import records
from lib.pipeline.steps import Job
from lib.report import index_page, notebook_pages

VOID = {"meta", "br", "img", "link", "input", "hr", "path"}
RUN = "run-ped2-score-app_intensity_mot-seed0"


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
        if not self.open or self.open[-1] not in ("style", "title", "script"):
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
    folded = re.findall(r"(\d+) not run ([^#]+?) (?=Over all|How it was made)", text)
    assert "flow/mot/seed0" in folded[0][1] and "score/app_intensity_mot/seed0" in folded[0][1]
    assert "Figure 4. Likelihoods of normal and abnormal frames" in text.split("figures not run")[1]


def test_a_page_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path))
    page = Page(index_page.write("quick"))
    assert "0 complete runs" in page.text and "not run" in page.text and not page.broken()


def test_failures_are_shown_as_text(reports):
    made.change(whole(), lambda r: r.update(status="failed", error="A <b>thing</b> & more went wrong"))
    path = index_page.write("quick")
    assert "A <b>thing</b> & more went wrong" in Page(path).text and "1 failed" in Page(path).text
    assert "&lt;b&gt;thing" in path.read_text()


def test_what_is_out_of_date_says_so_and_why(reports, monkeypatch):
    """A run, the runs that stand on it, the numbers of a table and the figures that are made from them."""
    monkeypatch.setattr(index_page.planning, "why_stale", lambda job, *_: "")
    assert "out of date" not in Page(index_page.write("quick")).text.lower()
    why = lambda job, *_: "its steps changed" if job.name == "ped2/flow/mot/seed0" else ""  # noqa: E731
    monkeypatch.setattr(index_page.planning, "why_stale", why)
    folder = paths.figures("quick")
    folder.mkdir(parents=True)
    for name, inputs in (("fig4", ["ped2/score/mot/seed0"]), ("fig3", ["ped2/score/one_path/seed0"])):
        (folder / f"{name}-ped2.svg").write_text("<svg/>")
        made.record(Job("quick", "all", "figure", name), inputs=inputs)
    path = index_page.write("quick")
    page = path.read_text()
    assert "4 runs would run again now" in page  # the flow, the two models with it, and the figure
    for name in ("flow-mot", "score-mot", "score-app_intensity_mot"):
        assert re.search(rf'id="run-ped2-{name}-seed0"><summary>.*?"state old">out of date<', page), name
    line = page.split('id="run-ped2-score-two_path-seed0"><summary>')[1].split("</summary>")[0]
    assert '<span class="state">complete</span>' in line
    assert "Would run again: its steps changed." in page
    assert "Would run again: ped2/flow/mot/seed0 would run again." in page
    cells = dict(
        re.findall(
            r'<a href="#run-ped2-score-(\w+)-seed0" title="[^"]*">0\.\d+[^<]*</a>([^\n]{0,200}?)</td>', page
        )
    )
    assert "out of date" in cells["mot"] and "out of date" not in cells["two_path"]
    captions = dict(re.findall(r'<figure id="(\w+)-ped2".*?<figcaption>(.*?)<br>', page, re.S))
    assert "out of date" in captions["fig4"] and "out of date" not in captions["fig3"]


def test_each_number_of_a_table_links_to_its_run(reports):
    made.scored("ped2", "app_intensity_mot", 1)
    path = index_page.write("quick")
    text, page = path.read_text(), Page(path)
    table = text.split('<section id="table3">')[1].split("</section>")[0]
    cells = re.findall(r'<td[^>]*><a href="#(run-[^"]+)" title="[^"]+">(0\.\d+)', table)
    runs = [run for run, _ in cells if "-score-" in run][:5]  # of the measured column, before RBDC and TBDC
    assert runs == [
        f"run-ped2-score-{m}-seed0"
        for m in ("one_path", "two_path", "app_intensity", "mot", "app_intensity_mot")
    ]
    assert 'href="#run-ped2-score-app_intensity_mot-seed1"' in table  # of a mean, the other seed's run too
    assert set(runs) <= page.ids


def test_a_run_unfolds_with_its_record_scores_numbers_and_command(reports):
    path = index_page.write("quick")
    inside = path.read_text().split(f'id="{RUN}"')[1].split("</details>")[0]
    record = records.read(whole().folder)
    assert "<code>./run_all.sh score</code>" in inside and 'class="copy"' in inside
    for file in ("run.json", "scores.csv"):
        assert f'href="runs/ped2/score/app_intensity_mot/seed0/{file}"' in inside
    for name, values in record["metrics"]["protocols"].items():
        assert f"<td>{name}</td><td>{values['auc']:.3f}</td><td>{values['eer']:.3f}</td>" in inside
    assert "score.lambda_L" in inside and 'href="#run-ped2-flow-mot-seed0"' in inside


def test_a_banner_names_each_parameter_that_is_not_the_profiles(reports):
    assert 'id="changed"' not in index_page.write("quick").read_text()
    made.change(whole(), lambda r: r["parameters"].update({"score.lambda_L": 0.25}))
    banner = index_page.write("quick").read_text().split('id="changed"')[1].split("</div>")[0]
    assert "<code>score.lambda_L</code> is <strong>0.25</strong>, the profile's is 1.0" in banner
    assert banner.count("<li>") == 1 and f'href="#{RUN}"' in banner


def test_the_page_of_kept_records_is_not_compared_with_the_code_of_now(reports, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    shutil.copytree(reports, tmp_path / "reference")
    path = index_page.write_kept("quick")
    assert path == tmp_path / "reference/quick/index.html" and not (reports / "quick/index.html").exists()
    page = Page(path)
    assert "curated records" in page.text and "Would run again" not in page.text and not page.broken()


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
    drawn = [name for name in page.sources if not name.startswith("browser/")]
    assert drawn == ["figures/fig4_ped2.svg", "figures/roc.png", "figures/extra_thing.svg"]
    assert "Figure 4. Likelihoods of normal and abnormal frames, UCSD Ped2" in page.text
    assert "figures/fig4_ped2.csv" in page.links
    assert not page.broken()


def test_a_chart_of_a_step_has_a_title_and_says_when_it_is_out_of_date(reports, monkeypatch):
    folder = paths.figures("quick")
    folder.mkdir(parents=True)
    for stem in ("sensitivity-ped2", "sensitivity-ped2-seed1"):
        (folder / f"{stem}.svg").write_text("<svg/>")
    old = {Job("quick", "ped2", "sensitivity", "", 1): "its steps changed"}
    monkeypatch.setattr(index_page, "outdated", lambda known: old)
    captions = dict(
        re.findall(
            r'<figure id="([^"]+)".*?<figcaption>(.*?)<br>', index_page.write("quick").read_text(), re.S
        )
    )
    assert all("What each open choice does to the AUC, UCSD Ped2" in caption for caption in captions.values())
    assert ["out of date" in captions[f"sensitivity-ped2{end}"] for end in ("", "-seed1")] == [False, True]


def test_a_picture_is_as_large_as_it_is_printed(tmp_path):
    path = tmp_path / "figure.png"
    for size, dots, shown in (((990, 600), 300, (317, 192)), ((1400, 700), 200, (672, 336))):
        Image.new("L", size).save(path, dpi=(dots, dots))
        assert index_page._size_of(path) == shown
    Image.new("L", (430, 100)).save(path)
    assert index_page._size_of(path) == (430, 100)
    path.write_text("no picture")
    assert index_page._size_of(path) == (0, 0)


def test_curated_numbers_have_the_intervals_of_their_own_resamples(reports, monkeypatch):
    for variant in made.SHIFT:
        made.change(
            Job("quick", "ped2", "score", variant, 0),
            lambda r: r["parameters"].update({"evaluate.resamples": 77}),
        )
    index_page.write("quick")
    assert "77 resamples" in (paths.tables("quick") / "table3.md").read_text()


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


def test_links_between_notebooks_lead_to_pages(reports):
    """To the run on the same data set; to nothing while there is none, and then to the new page."""
    start = Job("quick", "all", "start")
    made.record(start)
    first = notebook(start, "[The scores](07_score.ipynb), then [Glow](05_glow.ipynb).").with_suffix(".html")
    score = notebook(whole(), "Back to [the start](00_start_here.ipynb).").with_suffix(".html")
    index = Page(index_page.write("quick"))
    assert "runs/all/start/00_start_here.html" in index.links  # from the head of the page
    assert os.path.relpath(score, first.parent) in Page(first).links
    assert os.path.relpath(first, score.parent) in Page(score).links
    assert "then Glow" in Page(first).text and not Page(first).broken()
    glow = Job("quick", "all", "explain_glow")
    made.record(glow)
    notebook(glow, "Glow")
    index_page.write("quick")
    assert "../explain_glow/05_glow.html" in Page(first).links and not Page(first).broken()


def test_an_equation_stands_on_the_line():
    svg = notebook_pages.with_equations("<p>of $x_t$ here</p>")
    depth = float(re.search(r"vertical-align:(-?[\d.]+)em", svg)[1])
    height = float(re.search(r"height:([\d.]+)em", svg)[1])
    assert (
        -0.5 < depth < 0 < height < 1.5 and svg.startswith("<p>of <svg") and svg.endswith("</svg> here</p>")
    )
    assert notebook_pages.with_equations("<p>$5</p><p>and $6</p>") == "<p>$5</p><p>and $6</p>"
    assert notebook_pages.with_equations('<a title="$x$">it</a>') == '<a title="$x$">it</a>'
