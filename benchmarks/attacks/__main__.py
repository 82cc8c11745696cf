"""What each strategy survives when one or two of five envoys lie.

python -m benchmarks.attacks            # measures, writes benchmarks/results/attacks.json, prints the table
python -m benchmarks.attacks --report   # prints the table of what is there, as docs/reliability.md has it

Rounds as the director's aggregator keeps them, without a network: updates are uploaded, refused, capped and
combined by the code that a federation runs. The envoys solve a problem that takes milliseconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import time
from collections.abc import Sequence
from datetime import date
from typing import Any

from benchmarks.attacks.attacks import ATTACKS
from benchmarks.attacks.federation import COLUMNS, ROUNDS, experiment
from benchmarks.attacks.problem import ENVOYS, SIZE
from benchmarks.attacks.report import RESULTS, load, table
from benchmarks.compare.results import commit
from superb_node.work_folder import replace_file
from tests.support.machine import machine

SEEDS = (0, 1, 2)


def measure() -> dict[str, Any]:
    """Do all runs; returns what is kept."""
    logging.disable(logging.WARNING)  # OpenFL has one for each experiment
    started, rows = time.monotonic(), []
    for column, attack, liars in itertools.product(COLUMNS, ATTACKS, (1, 2)):
        if attack == "none" and liars == 2:
            continue
        outcomes = [experiment(column, attack, liars, seed) for seed in SEEDS]
        rows.append(
            {
                "column": column,
                "attack": attack,
                "liars": liars if attack != "none" else 0,
                "accuracies": [outcome.accuracy for outcome in outcomes],
                "refused": [outcome.refused for outcome in outcomes],
                "failures": [outcome.failure for outcome in outcomes],
            }
        )
        print(rows[-1], flush=True)
    return {
        "envoys": ENVOYS,
        "rounds": ROUNDS,
        "weights": SIZE,
        "seeds": SEEDS,
        "rows": rows,
        "seconds": time.monotonic() - started,
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": machine(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure unless only the report is asked for; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--report", action="store_true", help="of what was measured earlier")
    options = parser.parse_args(argv)
    if not options.report:
        replace_file(RESULTS, (json.dumps(measure(), indent=1) + "\n").encode())
    print(table(load()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
