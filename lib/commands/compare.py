"""`./run_all.sh compare A B`: two sets of runs side by side.

    ./run_all.sh compare before now                  the effect of the last change of a setting or of code
    ./run_all.sh compare small long                  two profiles
    ./run_all.sh compare now reference --profile small   your runs against the curated results
    ./run_all.sh compare long reference/small        a profile against another that was curated

`now` and `before` are those of the profile that --profile names. A side can also be a folder with `runs/` in
it.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from lib import paths
from lib.errors import ConfigError
from lib.evaluation.protocols import PROTOCOLS
from lib.evidence import comparison, scored_runs, typesetting
from lib.evidence.comparison import Side
from lib.report.reference import profiles, reading
from lib.settings.profiles import PROFILES
from lib.settings.values import nearest

SIDES = ("now", "before", "reference")
SAME = "Nothing differs in parameters, code or data."


def compare(profile: str, names: list[str]) -> str:
    """The output of `./run_all.sh compare A B`; table and figure are stored in `reports/<profile>/compare/`.

    Raises ConfigError for sides that do not exist, or that have no model in common.
    """
    if len(names) != 2:
        raise ConfigError("compare takes two sides, e.g. ./run_all.sh compare before now")
    first, second = side(names[0], profile, names[1]), side(names[1], profile, names[0])
    resamples = first.results[0].parameters()["evaluate.resamples"]
    table = comparison.cells(first, second, protocol=PROTOCOLS["paper"], resamples=resamples)
    if table.empty:
        raise ConfigError(f"{first.name} and {second.name} have no labelled score of one model in common.")
    text = "\n\n".join(
        [
            f"**{second.name} against {first.name}**",
            typesetting.markdown_table(comparison.face(table, first, second)),
            f"Frame-level ROC AUC, {PROTOCOLS['paper']}; intervals of paired differences, "
            f"{resamples} resamples of the test clips.",
            _told(comparison.what_differs(first, second)),
        ]
    )
    folder = paths.report(profile) / "compare" / re.sub(r"[^\w.]+", "-", f"{names[0]}-{names[1]}")
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "comparison.csv", index=False, lineterminator="\n")
    paths.write_text(folder / "comparison.md", text + "\n")
    files = ["comparison.csv", "comparison.md", *_draw(first, second, table, folder)]
    return f"{text}\n\nKept in {paths.shown(folder)}: {', '.join(files)}"


def side(name: str, profile: str, other: str = "") -> Side:
    """One side by its name; `reference` has the profile that the `other` side names, if it names one.

    Raises ConfigError if there is no such side, or nothing scored in it.
    """
    if name == "before":
        results = scored_runs.before(profile)
        if not any(r.folder.name.endswith(".previous") for r in results):
            raise ConfigError(f"At profile {profile} no scored run was replaced yet, so there is no before.")
        return Side("before", results)
    top, where = contextlib.nullcontext(), profile
    if name == "reference" or name.startswith("reference/"):
        top, where = reading(), name.partition("/")[2] or (other if other in PROFILES else profile)
        if where not in profiles():
            kept = " or ".join(f"reference/{p}" for p in profiles()) or "none at all"
            raise ConfigError(f"The reference has no results at profile {where}; it has {kept}.")
    elif name in PROFILES:
        where = name
    elif (Path(name) / "runs").is_dir():
        folder = Path(name).resolve()
        top, where = reading(folder.parent), folder.name
    elif name != "now":
        known = [*SIDES, *PROFILES, *(f"reference/{p}" for p in profiles())]
        raise ConfigError(f"There is no side {name} to compare. {nearest(name, known)}")
    with top:
        results = scored_runs.of_profile(where)
    if not any(r.job.step == "score" for r in results):
        raise ConfigError(f"{name} has no scored run. Make one: ./run_all.sh scores --profile {where}")
    return Side(name, results)


def _told(found: dict[str, list[str]]) -> str:
    """What differs, by kind."""
    blocks = [
        f"What differs in {kind}, first against second:\n" + "\n".join(f"- {line}" for line in lines)
        for kind, lines in found.items()
        if lines
    ]
    return "\n\n".join(blocks) or SAME


def _draw(first: Side, second: Side, table, folder: Path) -> list[str]:
    """Draw the two curves of a clip, one above the other; returns the names of the files."""
    found = comparison.curves(first, second, table, PROTOCOLS["paper"])
    if found is None:
        return []
    import matplotlib.style

    from lib.figures import style, two_curves

    matplotlib.style.use(paths.STYLE)
    figure, numbers = two_curves.draw(found, first, second)
    return style.save(figure, numbers, folder, f"scores-{found.dataset}-{found.clip}")
