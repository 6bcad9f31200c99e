"""Starts Snakemake with its own words in a file, and those of the jobs on the terminal as ever.

    python -m lib.pipeline.engine LOG ARGUMENTS...

Jobs inherit the descriptor of the standard error, which stays the terminal; Snakemake itself, from the first
line on, and with every warning and traceback, writes to Python's `sys.stderr`, which is LOG.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> None:
    """Never returns; what came of the jobs is in their records."""
    with open(arguments[0], "w", encoding="utf-8", errors="backslashreplace") as log:
        sys.stderr = log
        from snakemake import cli

        cli.main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
