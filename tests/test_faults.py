"""The list of faults in `faults.py` fits the code as it is. Planting them all takes too long for the
suite."""

import re

import faults
import pytest
from faults import FAULTS, ROOT, Fault


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_each_fault_can_be_planted(fault):
    faults.plant(fault, (ROOT / fault.file).read_text(encoding="utf-8"))
    missing = [file for file in fault.test_files if not (ROOT / file).is_file()]
    assert fault.test_files and missing == []


def test_faults_have_names_of_their_own_and_touch_the_whole_method():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 35
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)
    modules = {re.sub(r".*/|\.\w+$", "", fault.file) for fault in FAULTS}
    assert {
        "itae",
        "losses",
        "glow",
        "features",
        "stage1",
        "stage2",
        "extraction",
        "scoring",
        "protocols",
        "loop",
        "prepared",
        "preparation",
        "layouts",
        "records",
    } <= modules


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ("y", "z", "occurs 0 times in lib/x.py"),
        ("a", "b", "occurs 2 times"),
        ("a = 1", "a = (", "is no Python"),
        ("a = 1", "a = 1", "changes nothing"),
    ],
)
def test_a_fault_that_cannot_be_planted_is_told(old, new, sentence):
    with pytest.raises(ValueError, match=sentence):
        faults.plant(Fault("f", "x", old, new, "x"), "a = 1\nb = a\n")


def test_a_fault_is_planted_run_and_taken_out_again(tmp_path, monkeypatch, capsys):
    """The script on a checkout of one module and one test, which sees one fault of three."""
    files = {
        "lib/__init__.py": "",
        "lib/x.py": "def double(a):\n    return 2 * a  # twice\n",
        "tests/test_x.py": "from lib.x import double\n\n\ndef test_double():\n    assert double(2) == 4\n",
        "tests/test_y.py": "def test_y():\n    assert False\n",
        "pyproject.toml": "[tool.pytest.ini_options]\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(faults, "SLOW_IMPORTS", ["pytest"])
    monkeypatch.setattr(faults, "copy_checkout", lambda folder: faults.shutil.copytree(tmp_path, folder))
    monkeypatch.setattr(
        faults,
        "FAULTS",
        [
            Fault("thrice", "x", "2 * a", "3 * a", "x"),
            Fault("squared", "x", "2 * a", "a * a", "x"),
            Fault("gone", "x", "4 * a", "a", "x"),
            Fault("loop", "x", "return 2 * a", "while True: pass", "y"),
        ],
    )
    assert faults.main([]) == 1
    table = capsys.readouterr().out.split("outcome\n")[1].splitlines()
    assert [line.split(maxsplit=2)[2] for line in table[:4]] == [
        "killed by test_x.py::test_double",
        "SURVIVED",
        "not applicable: the text occurs 0 times in lib/x.py, not once",
        "not applicable: tests/test_y.py does not pass without it",
    ]
    assert table[-1].startswith("1 of 4 killed")
    assert faults.main(["thrice"]) == 0
    with pytest.raises(SystemExit):
        faults.main(["twice"])
    assert "there is no fault twice" in capsys.readouterr().err
    assert {name: (tmp_path / name).read_text() for name in files} == files
