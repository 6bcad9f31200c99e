"""The display names of data sets, models and flows, for rows of tables, legends and sentences.

The parts of a model are in `pipeline.steps.MODELS`, its colours in `figures.style.MODELS`.
"""

from __future__ import annotations

from typing import NamedTuple

DATASETS = {
    "ped1": "UCSD Ped1",
    "ped2": "UCSD Ped2",
    "avenue": "CUHK Avenue",
    "shanghaitech": "ShanghaiTech",
    "synthetic": "Generated set",
    "own": "Your own video",
}
PAPER_SETS = ("ped2", "avenue", "shanghaitech")


class Name(NamedTuple):
    """The names of one model or flow: a `row` of a table, the `legend` of a figure (with mathematics), and
    within a `sentence`."""

    row: str
    legend: str
    sentence: str


MODELS = {
    "one_path": Name("One path (appearance)", "one-path AE", "one path"),
    "two_path": Name("Two paths (+ motion)", "two-path AE", "two paths"),
    "app_intensity": Name("+ F_app", "+ $F_{app}$ (intensity)", "two paths with F_app"),
    "mot": Name("+ F_mot", "+ $F_{mot}$", "two paths with F_mot"),
    "app_intensity_mot": Name("+ F_app and F_mot", "+ both", "two paths with both flows"),
    "app_none": Name("None", "+ $F_{app}$ (none)", "two paths with F_app, nothing added"),
    "app_error": Name("Error map", "+ $F_{app}$ (error map)", "two paths with F_app, error map added"),
}
FLOWS = {
    "app_none": Name("None", "$F_{app}$ (none)", "F_app with nothing added"),
    "app_intensity": Name("Intensity", "$F_{app}$ (intensity)", "F_app with intensity"),
    "app_error": Name("Error map", "$F_{app}$ (error map)", "F_app with the error map"),
    "mot": Name("F_mot", "$F_{mot}$", "F_mot"),
}
# as in the paper's Table 2
TABLE2 = {"two_path": "ITAE", "app_intensity_mot": "ITAE + Generative Modeling"}


def in_table(table: str, model: str) -> Name:
    """The names of a model in "table2", "table3" or "table4". In Table 4 it is named after the extra input of
    its flow."""
    if table == "table4":
        return FLOWS[model]
    if table == "table2":
        return MODELS[model]._replace(row=TABLE2[model])
    return MODELS[model]
