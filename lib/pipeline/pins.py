"""Whether the packages of an environment are those of requirements.txt. Needs nothing but Python and pip.

python lib/pipeline/pins.py    exits with 0 if every pin is met, otherwise with 1; prints the differences
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"


def unmet(requirements: Path = REQUIREMENTS) -> list[str]:
    """The pins that this environment does not meet, as 'name==wanted (found)', without pins for other
    systems."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement
    found = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        pin = Requirement(line)
        if pin.marker and not pin.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(pin.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{pin.name}{pin.specifier} (not installed)")
            continue
        # Compared as text, because another build of the same release (2.14.1+cpu) does not meet a pin.
        if version != str(pin.specifier).removeprefix("=="):
            found.append(f"{pin.name}{pin.specifier} ({version})")
    return found


if __name__ == "__main__":
    try:
        different = unmet()
    except ImportError:
        sys.exit(1)
    print("\n".join(different))
    sys.exit(1 if different else 0)
