"""How much of an interval's ends is owed to the draw of the resamples, by how many there are.

    python benchmarks/interval_stability.py [SCORES.csv ...] [--draws 20]

Each file is a `scores.csv` of a score run; without any, those that the reference keeps for UCSD Ped2. For
each number of resamples the 95 % interval by the paper's protocol is made with so many draws of the
resamples. Written to `benchmarks/interval_stability.csv`: the standard deviation of its lower and of its
upper end over these draws, the largest deviation of either end from its mean, and the seconds of one
interval. `evaluate.resamples` follows from it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lib import paths  # noqa: E402
from lib.evaluation import protocols  # noqa: E402

RESAMPLES = (1_000, 4_000, 10_000, 40_000, 100_000)


def stability(scores: pd.DataFrame, resamples: int, draws: int) -> dict[str, float]:
    """The spread of the ends of the interval of one run's AUC over some draws of so many resamples."""
    terms = [(1.0, scores[term].to_numpy()) for term in ("R", "L") if term in scores]
    labels, clips = scores["label"].to_numpy(), pd.factorize(scores["clip"])[0]
    started, ends = time.perf_counter(), []
    for draw in range(draws):
        found = protocols.bootstrap_auc(
            [terms], labels, clips, protocols.PROTOCOLS["paper"], resamples=resamples, draw=draw
        )
        ends.append((found.low, found.high))
    seconds = (time.perf_counter() - started) / draws
    away = np.abs(ends - np.mean(ends, axis=0)).max()
    deviation = np.std(ends, axis=0, ddof=1)
    return {
        "resamples": resamples,
        "low": np.mean(ends, axis=0)[0],
        "high": np.mean(ends, axis=0)[1],
        "deviation_low": deviation[0],
        "deviation_high": deviation[1],
        "largest": away,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scores", nargs="*", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    files = options.scores or sorted(paths.REFERENCE.glob("*/runs/ped2/score/*/seed0/scores.csv"))
    rows = []
    for file in files:
        scores = pd.read_csv(file, dtype={"clip": str})
        for resamples in RESAMPLES:
            row = stability(scores, resamples, options.draws)
            rows.append({"scores": file.parent.parent.name, "draws": options.draws} | row)
            print(
                " ".join(f"{v:.5f}" if isinstance(v, float) else str(v) for v in rows[-1].values()),
                flush=True,
            )
    table = pd.DataFrame(rows)
    table.to_csv(
        ROOT / "benchmarks/interval_stability.csv", index=False, float_format="%.5f", lineterminator="\n"
    )


if __name__ == "__main__":
    main()
