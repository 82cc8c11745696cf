"""Makes tables and plots of the comparison's results.

    python -m benchmarks.compare.report [FILE]

It prints tables and writes plots: of the project's own rows to docs/images, of the rows in FILE next to it,
under its name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare.few_clips import few_clips, save_few_clips
from benchmarks.compare.plots import save_plot
from benchmarks.compare.results import RESULTS, ROOT, load_rows, present_rows
from benchmarks.compare.tables import Row, tables
from superb_node.errors import DataError

IMAGES = ROOT / "docs" / "images"


def main(argv: list[str] | None = None) -> int:
    """Print the tables and write the plots; returns 0, or 1 without rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?", default=RESULTS, metavar="FILE", help="of the rows")
    return show_report(parser.parse_args(argv).file)


def show_report(results: Path) -> int:
    """Print the tables of a file's rows and write the plots; returns 0, or 1 without rows."""
    is_published = results.resolve() == RESULTS
    images = IMAGES if is_published else results.parent
    few = "few_clips" if is_published else f"{results.stem}-few_clips"
    try:
        kept = load_rows(results)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    rows = present_rows(kept)
    if older := len(kept) - len(rows):
        print(f"left out: {older} rows of another tiny model or another recipe; make compare replaces them")
    if not rows:
        print(f"no rows in {results}: make compare DATA=FOLDER makes them", file=sys.stderr)
        return 1
    for title, table in tables(rows).items():
        print(f"\n{title}\n\n{table}")
    print(f"\n{provenance(rows)}")
    images.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg"):
        save_plot(rows, images / f"{results.stem}.{ending}")
        if few_clips(rows):
            save_few_clips(rows, images / f"{few}.{ending}")
    return 0


def provenance(rows: Sequence[Row]) -> str:
    """Return a line that says when, where and of which commit the rows are."""
    dates = sorted(row["date"][:10] for row in rows)
    machines = sorted({f"{row['machine']['cores']} cores of {row['machine']['processor']}" for row in rows})
    commits = sorted({row["commit"] for row in rows})
    whole = [row for row in rows if row.get("share", 1.0) == 1]  # the table of few clips has its own epochs
    epochs = {(r["data"], r["model"], r["rounds"], r["epochs_per_round"]) for r in whole}
    work = ", ".join(f"{data} ({model}): {n} rounds of {e}" for data, model, n, e in sorted(epochs))
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return f"{len(rows)} runs, {when}, commit {', '.join(commits)}, {'; '.join(machines)}. Epochs: {work}."


if __name__ == "__main__":
    sys.exit(main())
