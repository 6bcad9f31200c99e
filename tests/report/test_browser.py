"""The page and its clip player in a real browser, opened from the disk: what moves together, what the page
computes, and that it needs no network and has nothing for axe to find."""

import json
import shutil
import urllib.parse
from pathlib import Path

import cv2
import made_records as made
import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from lib import paths
from lib.evaluation import protocols
from lib.evidence.scored_runs import of_profile
from lib.pipeline.steps import Job
from lib.report import clip_player, index_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="There is no chromium here to open the page in (apt-get install chromium)."
)

H, W, PER = 48, 72, 20  # frames of the made set, and so many in a clip
CLIPS = 10
STILL = {"Test010": "black"}  # as the score notebook names it
PAPER = protocols.PROTOCOLS["paper"]


def bar(frame):
    """The first column of the bar in a frame of a clip."""
    return 3 + 3 * frame


def draw(folder):
    """A prepared set whose every frame shows which one it is: a bar that moves on, a region on it where it is
    abnormal."""
    frames = np.full((CLIPS * PER, H, W, 1), 40, np.uint8)
    masks = np.zeros((CLIPS * PER, H, W), bool)
    labels = np.tile((np.arange(PER) >= 6) & (np.arange(PER) < 15), CLIPS)
    for row in range(CLIPS * PER):
        x = bar(row % PER)
        frames[row, :, x : x + 4] = 220
        masks[row, 12:30, x : x + 10] = labels[row]
    folder.mkdir(parents=True)
    np.save(folder / "test_frames.npy", frames)
    np.save(folder / "test_masks.npy", masks)
    np.save(folder / "test_labels.npy", labels)
    clips = [{"name": f"Test{i + 1:03d}", "start": i * PER, "length": PER} for i in range(CLIPS)]
    manifest = {"format": 1, "key": "made", "clips": {"train": [], "test": clips}, "subset": False}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return frames


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A finished report: a generated set with pictures, and Ped2, whose prepared frames are gone."""
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_REPORTS", str(folder / "reports"))
        frames = draw(folder / "prepared")
        made.everything("ped2")
        made.prepare("synthetic", notes={"prepared": str(folder / "prepared")})
        for job in made.everything("synthetic"):
            made.change(job, lambda r: r["notes"].update(nothing_happens=STILL))
        for autoencoder, shift in (("one_path", 5), ("two_path", 2)):
            at = Job("quick", "synthetic", "features", autoencoder, 0).folder
            again = np.roll(frames, shift, axis=2)
            np.save(at / "test_reconstructions.npy", again)
            np.save(
                at / "test_error_maps.npy",
                np.abs(frames - again.astype(float))[..., 0].astype(np.float16) / 255,
            )
        drawn = paths.figures("quick")
        drawn.mkdir(parents=True)
        svg = '<svg xmlns="http://www.w3.org/2000/svg" width="200pt" height="100pt"></svg>'
        (drawn / "fig4-synthetic.svg").write_text(svg)
        path = index_page.write("quick")
        yield path, of_profile("quick")


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, report):
    """Opens the report; afterwards nothing may have gone wrong, and nothing may have been asked of a
    network."""
    trouble, contexts = [], []

    def open_page(width=1280, height=900, scheme="light", at=""):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else trouble.append(r.url))
        page.goto(report[0].as_uri() + at)
        page.wait_for_selector("#browser-inside[data-frame]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not trouble


def result(report, variant, dataset="synthetic"):
    return next(
        r for r in report[1] if (r.job.dataset, r.job.variant, r.job.step) == (dataset, variant, "score")
    )


def at_frame(page, frame):
    page.wait_for_selector(f"#browser-inside[data-frame='{frame}']")


def picture(page, kind):
    """A screenshot of the first panel of a kind, (h, w, 3) BGR."""
    shot = page.locator(f"canvas[data-kind={kind}]").first.screenshot()
    return cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR)


def column_of_bar(page, kind):
    """Where the picture of a panel is brightest, in columns of the prepared frames, from a screenshot without
    its border."""
    top = picture(page, kind).mean(axis=2)[2:12, 3:-3]  # above the outline
    return (top.mean(axis=0).argmax() + 3) * W / (top.shape[1] + 6)


def cursors(page):
    return page.eval_on_selector_all(
        "#browser-curves .cursor", "lines => lines.map(line => Number(line.getAttribute('x1')))"
    )


def numbers(page):
    """The rows of the table of numbers: name, AUC here, AUC on record, precision, recall."""
    return [row.split("\t") for row in page.locator("#browser-numbers").inner_text().strip().split("\n")]


# -- frames and curves


def test_pictures_curves_and_numbers_move_together(opened, report):
    page, R = opened(), result(report, "app_intensity_mot").scores["R"].to_numpy()
    page.select_option("#browser-clip", "Test003")
    at_frame(page, 0)
    for step in range(1, 8):
        page.click("#browser-forward")
        at_frame(page, step)
        assert cursors(page) == [step] * 3 and page.input_value("#browser-scrub") == str(step)
        assert bar(step) <= column_of_bar(page, "input") < bar(step) + 4
        assert bar(step) + 2 <= column_of_bar(page, "reconstruction") < bar(step) + 6
        assert page.inner_text("[data-term=R] .value") == f"{R[2 * PER + step]:.3f}"
        assert page.inner_text("#browser-label") == ("abnormal" if 6 <= step < 15 else "normal")
    page.click("#browser-back")
    at_frame(page, 6)


def test_it_plays_to_the_end_and_begins_again(opened):
    page = opened()
    page.select_option("#browser-clip", "Test001")
    page.select_option("#browser-speed", "4")
    page.evaluate("""() => { window.seen = []; new MutationObserver(() => seen.push(Number(
        document.getElementById('browser-inside').dataset.frame))).observe(
        document.getElementById('browser-inside'), { attributeFilter: ['data-frame'] }); }""")
    page.click("#browser-play")
    page.wait_for_function("seen.length > 25", timeout=20000)
    assert page.inner_text("#browser-play") == "Pause"
    page.click("#browser-play")
    seen = page.evaluate("seen")
    assert seen[:25] == [i % PER for i in range(1, 26)]
    page.wait_for_timeout(300)
    stopped = page.get_attribute("#browser-inside", "data-frame")
    page.wait_for_timeout(300)
    assert page.get_attribute("#browser-inside", "data-frame") == stopped


def test_a_click_and_a_drag_on_the_curves_seek(opened):
    page = opened()
    page.select_option("#browser-clip", "Test002")
    for term in "RLS":
        curve = page.locator(f"[data-term={term}] svg")
        curve.scroll_into_view_if_needed()
        box = curve.bounding_box()
        x = {frame: box["x"] + box["width"] * frame / (PER - 1) for frame in (2, 7.2, 11, 15.9)}
        y = box["y"] + box["height"] / 2
        page.mouse.click(x[7.2], y)
        at_frame(page, 7)
        page.mouse.down()
        page.mouse.move(x[11], y)
        page.mouse.move(x[15.9], y + 200)  # the pointer may leave the curve
        page.mouse.up()
        at_frame(page, 16)
        page.mouse.move(x[2], y)
        assert page.get_attribute("#browser-inside", "data-frame") == "16"
        assert bar(16) <= column_of_bar(page, "input") < bar(16) + 4


def test_the_scrubber_works_by_keyboard(opened):
    page = opened()
    page.select_option("#browser-clip", "Test002")
    page.focus("#browser-scrub")
    for key, frame in (("End", PER - 1), ("ArrowLeft", PER - 2), ("Home", 0), ("ArrowRight", 1)):
        page.keyboard.press(key)
        at_frame(page, frame)


def test_abnormal_ranges_are_shaded_and_the_region_is_outlined(opened):
    page = opened()
    page.select_option("#browser-clip", "Test004")
    shaded = page.eval_on_selector_all(
        "#browser-curves rect",
        "all => all.map(r => [Number(r.getAttribute('x')), Number(r.getAttribute('width'))])",
    )
    assert shaded == [[5.5, 9]] * 3
    yellow = lambda: np.all(np.abs(picture(page, "input").astype(int) - (0, 212, 255)) < 60, axis=2)  # noqa: E731
    page.fill("#browser-scrub", "3")
    at_frame(page, 3)
    assert not yellow().any()
    page.fill("#browser-scrub", "9")
    at_frame(page, 9)
    rows, columns = np.nonzero(yellow())
    scale = picture(page, "input").shape[1] / W
    assert abs(columns.min() / scale - bar(9)) < 2 and abs(columns.max() / scale - (bar(9) + 10)) < 2
    assert abs(rows.min() / scale - 12) < 2 and abs(rows.max() / scale - 30) < 2
    page.uncheck("#browser-outline")
    page.wait_for_timeout(200)
    assert not yellow().any()


def test_the_error_lies_beside_the_input_or_on_it(opened):
    page = opened()
    assert page.locator("#browser-frames figcaption").all_inner_texts() == [
        "Input",
        "Reconstruction",
        "Error",
    ]
    page.select_option("#browser-clip", "Test001")
    at_frame(page, 0)
    x = bar(
        0
    )  # an error where the bar is and its reconstruction, two columns on, is not, and the other way round
    beside = picture(page, "error")[2:12].mean(axis=0)
    scale = beside.shape[0] / W
    assert beside[int((x + 0.9) * scale)].min() < 100 and beside[int((x + 40) * scale)].min() > 240
    page.select_option("#browser-view", "overlay")
    assert page.locator("#browser-frames figcaption").all_inner_texts() == ["Error on the input"]
    page.wait_for_timeout(300)
    on_it = picture(page, "error")[2:12].mean(axis=0)
    scale = on_it.shape[0] / W
    blue, _, red = on_it[int((x + 0.9) * scale)]
    assert (
        120 > red > blue + 20
        and on_it[int((x + 3) * scale)].min() > 180
        and on_it[int((x + 40) * scale)].max() < 60
    )


def test_one_path_against_two(opened, report):
    page = opened()
    page.click("#browser-paths")
    titles = page.locator("#browser-frames figcaption").all_inner_texts()
    assert titles == [
        "Input",
        "Reconstruction, two paths",
        "Error, two paths",
        "Reconstruction, one path",
        "Error, one path",
    ]
    assert page.locator("[data-term=R] polyline").count() == 2 and page.locator("[data-term=L]").count() == 0
    rows = numbers(page)
    for row, variant in zip(rows, ("two_path", "one_path"), strict=True):
        assert row[1] == row[2] == f"{result(report, variant).record['metrics']['auc']:.3f}"
    assert page.is_disabled("#browser-lambda")


def test_without_pictures_the_curves_are_there_and_a_sentence_says_why(opened):
    page = opened()
    page.select_option("#browser-dataset", "ped2")
    assert page.is_visible("#browser-missing") and page.locator("canvas").count() == 0
    assert "The frames are not available" in page.inner_text("#browser-missing")
    page.fill("#browser-scrub", "4")
    at_frame(page, 4)
    assert cursors(page) == [4] * 3


def test_a_clip_in_which_nothing_happens_is_flagged_by_its_name(opened):
    page = opened()
    names = dict(
        page.eval_on_selector_all("#browser-clip option", "all => all.map(o => [o.value, o.textContent])")
    )
    assert names["Test010"] == "Test010, nothing happens (black)" and names["Test009"] == "Test009"
    page.select_option("#browser-clip", "Test009")
    assert not page.is_visible("#browser-still")
    page.select_option("#browser-clip", "Test010")
    said = page.inner_text("#browser-still")
    assert said.startswith("Nothing happens in this clip (black), so its scores say nothing")
    page.select_option("#browser-dataset", "ped2")
    assert not page.is_visible("#browser-still")
    run = page.locator("#run-synthetic-score-mot-seed0")
    assert "In Test010 nothing happens (black), so its scores say nothing." in run.text_content()
    assert "nothing happens" not in page.locator("#run-ped2-score-mot-seed0").text_content()


# -- numbers


@pytest.mark.parametrize("dataset", ["synthetic", "ped2"])
def test_the_auc_of_every_model_is_that_of_its_record(opened, report, dataset):
    page = opened()
    page.select_option("#browser-dataset", dataset)
    for variant in made.SHIFT:
        page.select_option("#browser-model", f"{variant}/seed0")
        auc = f"{result(report, variant, dataset).record['metrics']['auc']:.3f}"
        assert [row[1:3] for row in numbers(page)] == [[auc, auc]], variant


def test_sliders_recompute_what_the_kit_computes(opened, report):
    page, whole = opened(), result(report, "app_intensity_mot")
    R, L = (whole.scores[name].to_numpy() for name in "RL")
    for weight, threshold in (("0", "0.4"), ("0.35", "0.6"), ("2.5", "1.111"), ("5", "0"), ("1", "2")):
        page.fill("#browser-lambda", weight)
        page.fill("#browser-threshold", threshold)
        S = protocols.protocol_scores([(1.0, R), (float(weight), L)], whole.clips, PAPER)
        called = float(threshold) <= S
        expected = [
            f"{protocols.frame_auc([(1.0, R), (float(weight), L)], whole.labels, whole.clips, PAPER):.3f}",
            f"{whole.record['metrics']['auc']:.3f}",
            f"{precision_score(whole.labels, called):.3f}" if called.any() else "–",
            f"{recall_score(whole.labels, called):.3f}",
        ]
        assert numbers(page)[0][1:] == expected, (weight, threshold)
    page.click("#browser-reset")
    assert numbers(page)[0][1] == numbers(page)[0][2] and page.inner_text("#browser-lambda-now") == "1.00"


def test_the_threshold_begins_at_the_equal_error_rate(opened, report):
    page, whole = opened(), result(report, "app_intensity_mot")
    threshold, S = (
        page.evaluate("shown.threshold"),
        protocols.protocol_scores(whole.terms, whole.clips, PAPER),
    )
    called, labels = threshold <= S, whole.labels.astype(bool)
    rates = (called & ~labels).sum() / (~labels).sum(), (~called & labels).sum() / labels.sum()
    assert rates[0] == pytest.approx(rates[1], abs=0.02)
    assert np.mean(rates) == pytest.approx(whole.record["metrics"]["protocols"]["paper"]["eer"], abs=0.01)


def test_equal_scores_and_flat_clips_count_as_in_the_kit(opened):
    page, generator = opened(), np.random.default_rng(0)
    scores, labels = generator.integers(0, 6, 300).astype(float), generator.integers(0, 2, 300)
    got = page.evaluate(
        "([scores, labels]) => areaUnderCurve(scores, labels)", [scores.tolist(), labels.tolist()]
    )
    assert got == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    values = [3.0, 3.0 * (1 + 1e-13), 3.0, 1.0, 2.0, 5.0]
    clips = [{"start": 0, "length": 3}, {"start": 3, "length": 3}]
    flat = page.evaluate("([values, clips]) => Array.from(normalise(values, clips))", [values, clips])
    assert flat == [0, 0, 0, 0, 0.25, 1]


# -- the page


def test_every_link_leads_somewhere(opened, report):
    page = opened()
    page.click("#browser-paths")
    folder, ids = report[0].parent, set(page.eval_on_selector_all("[id]", "all => all.map(e => e.id)"))
    links = page.eval_on_selector_all(
        "a[href], img[src], script[src]",
        "all => all.map(e => e.getAttribute('href') || e.getAttribute('src'))",
    )
    assert len(links) > 100
    for link in links:
        name = urllib.parse.unquote(link)
        assert name[1:] in ids if name.startswith("#") else (folder / name).exists(), link


def test_a_number_opens_its_run_and_its_command_is_copied(opened):
    page = opened()
    run = page.locator("#run-synthetic-score-mot-seed0")
    assert run.get_attribute("open") is None
    page.locator("#table3 a[href='#run-synthetic-score-mot-seed0']").first.click()
    assert run.get_attribute("open") is not None and run.locator("code").first.is_visible()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    run.locator("button.copy").click()
    run.locator("button.copy:has-text('Copied'), button.copy:has-text('Selected')").wait_for()
    copied = page.evaluate("navigator.clipboard.readText().catch(() => getSelection().toString())")
    assert copied == "./run_all.sh score"


def test_an_address_with_a_run_opens_it(opened):
    page = opened(at="#run-synthetic-prepare")
    assert page.locator("#run-synthetic-prepare").get_attribute("open") is not None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(opened, scheme, width, height):
    page = opened(width, height, scheme)
    page.click("#browser-paths")
    page.eval_on_selector_all("details", "all => all.slice(0, 40).forEach(box => { box.open = true; })")
    import axe_playwright_python

    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(results => results.violations)")
    assert not [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0].get("failureSummary")) for v in found]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# -- what is written


def test_pictures_that_hold_are_kept_and_others_made_anew(report, monkeypatch):
    path, scored = report
    sheet = path.parent / "browser/synthetic/Test001/input-1.webp"
    before = sheet.stat().st_mtime_ns
    known = index_page.all_records("quick")
    how = {"kept": False, "all_clips": False}
    clip_player.write("quick", scored, known, {}, **how)
    assert sheet.stat().st_mtime_ns == before
    monkeypatch.setattr(clip_player, "FORMAT", 2)
    clip_player.write("quick", scored, known, {}, **how)
    assert sheet.stat().st_mtime_ns != before


def test_of_a_real_set_three_clips_have_pictures_unless_all_are_asked_for(report, monkeypatch, tmp_path):
    path, scored = report
    monkeypatch.setattr(clip_player, "WHOLE", ())
    monkeypatch.setattr(clip_player, "FORMAT", 3)
    known = index_page.all_records("quick")
    synthetic = tuple(r for r in scored if r.job.dataset == "synthetic")
    aucs = result(report, "app_intensity_mot").record["metrics"]["by_clip"]
    ranked = sorted(aucs, key=lambda name: (aucs[name], name))
    at = path.parent / "browser/synthetic"
    said = clip_player.write("quick", synthetic, known, {}, kept=False, all_clips=False)[0]["pictures"]
    assert sorted(p.name for p in at.iterdir()) == sorted(ranked[i] for i in (1, 4, 8))
    assert "Pictures of 3 of 10 test clips" in said and "--all-clips" in said
    said = clip_player.write("quick", synthetic, known, {}, kept=False, all_clips=True)[0]["pictures"]
    assert said == "Pictures of all 10 test clips." and len(list(at.iterdir())) == CLIPS
    clip_player.write("quick", synthetic, known, {}, kept=False, all_clips=False)
    assert len(list(at.iterdir())) == CLIPS  # what was made and holds is kept


def test_frames_are_made_small_and_keep_their_colours():
    frame = np.zeros((480, 856, 3), np.uint8)
    frame[:, :428] = (250, 10, 60)
    tile = clip_player._tile(frame)
    assert (
        tile.shape == (135, clip_player.WIDTH, 3)
        and tuple(tile[60, 50]) == (250, 10, 60)
        and not tile[60, 190].any()
    )
    assert clip_player._tile(np.full((64, 96, 1), 7, np.uint8)).tolist() == np.full((64, 96, 3), 7).tolist()


def test_frames_of_a_set_that_belongs_to_its_owners_are_not_kept_in_the_reference(report, monkeypatch):
    path, scored = report
    monkeypatch.setattr(clip_player, "OPEN", ())
    synthetic = tuple(r for r in scored if r.job.dataset == "synthetic")
    said = clip_player.write(
        "quick", synthetic, index_page.all_records("quick"), {}, kept=True, all_clips=True
    )
    assert "belong to their owners" in said[0]["pictures"]
    assert not list((path.parent / "browser").rglob("*.webp"))
