"""What the README and the other texts say is true: commands are understood, numbers come from the reference
records."""

import re
import shlex
import subprocess

import pytest

from lib import config, paths
from lib.commands import cli, why
from lib.report import reference
from lib.settings import profiles

ROOT = paths.ROOT
README = (ROOT / "README.md").read_text()
PAGES = (ROOT / "data/README.md", ROOT / "docs/cluster.md", reference.RESULTS)
TEXTS = [
    ROOT / "README.md",
    ROOT / "data/README.md",
    ROOT / "docs/cluster.md",
    reference.RESULTS,
    ROOT / "CITATION.cff",
    *ROOT.glob("notebooks/*.ipynb"),
    *ROOT.rglob("lib/**/*.py"),
]


def commands(text: str) -> list[str]:
    """All calls of run_all.sh in a text, in code blocks and between backticks."""
    found = re.findall(r"^\s*(\./run_all\.sh[^\n#]*)", text, flags=re.M) + re.findall(
        r"`(\./run_all\.sh[^`]*)`", text
    )
    return [
        c.strip() for c in found if "<" not in c and "NAME=VALUE" not in c and "|" not in c and "…" not in c
    ]


@pytest.mark.parametrize(
    "command", sorted({c for text in (README, *(path.read_text() for path in PAGES)) for c in commands(text)})
)
def test_every_command_is_understood(command):
    arguments = [a for a in shlex.split(command.partition(" -- ")[0])[1:] if a != "--help"]
    options = cli.parser().parse_args(arguments)
    if options.targets[:1] not in (["lab"], ["why"], ["compare"]):
        cli.understand(options)
    if options.why:
        assert "the paper:" in why.answer(options.profile, options.why)


def test_the_profiles_are_all_described():
    for profile in profiles.PROFILES:
        assert f"| `{profile}` |" in README


def test_numbers_in_the_texts_are_those_of_the_reference():
    for path, found in reference.blocks().items():
        text = path.read_text(encoding="utf-8")
        for name, block in found.items():
            shown = re.search(rf"<!-- {name}: [^\n]*-->\n(.*?)<!-- end of {name} -->", text, flags=re.S)[1]
            assert shown == block, f"{name} in {path.name}: ./run_all.sh --curate writes it"


def test_the_readme_is_short():
    assert len(README.splitlines()) < 200


def test_files_that_the_readme_names_exist():
    for path in (
        ROOT / "README.md",
        ROOT / "data/README.md",
        reference.RESULTS,
        *(ROOT / "docs").glob("*.md"),
    ):
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} names {target}"


def test_no_text_speaks_of_where_it_was_written():
    """No path of a machine, no host of a package registry, nothing left to do."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split(
        "\0"
    )
    words = re.compile(
        r"TODO|FIXME|/work/|/tmp/|/root/|files\.pythonhosted|pypi\.org|registry\.npmjs|deb\.debian|/home/"
    )
    for name in filter(None, names):
        path = ROOT / name
        if (
            path.is_file()
            and path.suffix
            in {
                ".py",
                ".md",
                ".sh",
                ".yml",
                ".txt",
                ".in",
                ".ipynb",
                ".json",
                ".cff",
                ".toml",
                ".csv",
                ".html",
                ".svg",
                ".tex",
            }
            and name != "tests/test_docs.py"
        ):
            found = words.search(
                re.sub(r"base64,[\w+/=\s]+", "", path.read_text(errors="ignore"))
            )  # in a picture it is chance
            assert not found, f"{name} says {found[0]}"


def test_lib_is_not_ignored_by_git():
    done = subprocess.run(["git", "check-ignore", "-q", "lib/itae.py"], cwd=ROOT)
    assert done.returncode == 1


def test_the_weights_of_the_reference_are_those_of_its_models():
    """Read as README says, they give finite errors and likelihoods."""
    import torch

    from lib.training import stage1, stage2

    of_ped2 = config.resolve("small", "ped2", {"machine.device": "cpu", "machine.precision": "float32"})
    runs = paths.REFERENCE / "small/runs/ped2"
    model = stage1.load_autoencoder(
        runs / "autoencoder/two_path/seed0/autoencoder.pt", of_ped2, two_path=True
    )
    with torch.no_grad():
        out = stage1.reconstruct(model, torch.zeros(1, 1, of_ped2.model.T, 32, 48), of_ped2)
        assert out.reconstruction.isfinite().all()
        for variant in ("app_intensity", "mot"):
            flow = stage2.load_flow(runs / f"flow/{variant}/seed0/flow.pt", of_ped2)
            assert flow.nll(torch.zeros(1, len(flow.mean), 32, 48)).isfinite().all()


def test_the_records_of_the_reference_hold_no_names_of_machines():
    for path in paths.REFERENCE.rglob("run.json"):
        text = path.read_text()
        assert '"hostname"' not in text and "/home/" not in text
