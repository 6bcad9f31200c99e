"""Starts Snakemake with its own messages in a file, and those of the jobs on the terminal.

    python -m lib.pipeline.engine LOG ARGUMENTS...

Jobs inherit the descriptor of the standard error, which stays the terminal; Snakemake writes all its
messages, warnings and tracebacks to Python's `sys.stderr`, which is LOG.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> None:
    """Never returns; the outcome of the jobs is in their records."""
    with open(arguments[0], "w", encoding="utf-8", errors="backslashreplace") as log:
        sys.stderr = log
        from snakemake import cli

        cli.main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
