"""Lines on the terminal: progress, results, durations."""

from __future__ import annotations

import shutil
import sys

from lib.pipeline.steps import Job


def say(job: Job, text: str) -> None:
    show_progress(None)
    tell(f"  {job.name:<46} {text}")


def tell(text: str) -> None:
    """Write one line at once. `print` writes the newline separately, so lines of parallel jobs would mix."""
    sys.stderr.write(text + "\n")


def show_progress(text: str | None) -> None:
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print("\r\033[K" + (text or "")[:width], end="", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as text: 45 s, 12 min, 3 h 20 min."""
    seconds = int(round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def headline(metrics: dict) -> str:
    """A run's AUC for its line on the terminal; empty if it has none."""
    return f", AUC {metrics['auc']:.3f}" if isinstance(metrics.get("auc"), float) else ""
