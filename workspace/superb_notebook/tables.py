"""Tables and sentences about an experiment."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from superb_ks.schedule import TEST_BEST, TEST_INITIAL, VALIDATE
from superb_notebook.history import History
from superb_notebook.personal import personal_cells, personal_models


class Table:
    """Rows of text that show as an HTML table in a notebook and as aligned columns in a terminal."""

    def __init__(self, header: Sequence[str], rows: Sequence[Sequence[str]], bold: int | None = None) -> None:
        """Keep the cells; the row of index `bold` is set in bold face."""
        self.header, self.rows, self.bold = list(header), [list(row) for row in rows], bold

    def __repr__(self) -> str:
        """Return the table as aligned text."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
        )

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:right'>{html.escape(cell)}</th>" for cell in self.header)
        body = ""
        for number, row in enumerate(self.rows):
            open_, close = ("<b>", "</b>") if number == self.bold else ("", "")
            cells = "".join(f"<td style='text-align:right'>{open_}{html.escape(c)}{close}</td>" for c in row)
            body += f"<tr>{cells}</tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def results_table(history: History) -> Table:
    """Return one row for each round, round 0 being the untouched model; the best model's row is bold."""
    header = ["round", "training loss", "validation loss", "validation accuracy", "right / clips", "seconds"]
    rows = []
    if (start := history.initial_validation) is not None:
        loss = history.pooled_loss(VALIDATE, 0)
        rows.append(
            ["0", "", _loss(loss), f"{start.accuracy:.1%}", f"{start.correct:,} / {start.clips:,}", ""]
        )
    for result in history.results():
        score = result.validation
        rows.append(
            [
                str(result.round),
                _loss(result.train_loss),
                _loss(result.validation_loss),
                f"{score.accuracy:.1%}",
                f"{score.correct:,} / {score.clips:,}",
                f"{result.seconds:.1f}",
            ]
        )
    best = str(history.best_round)
    return Table(header, rows, bold=next((index for index, row in enumerate(rows) if row[0] == best), None))


def _loss(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.3f}"


def envoys_table(history: History) -> Table:
    """Return one row for each envoy, its test accuracy with the initial and with the best model.

    If the experiment personalised, further cells have the test accuracy of the envoy's personal model, both
    models' accuracies on its validation clips, and whether it keeps the personal one.
    """
    header = ["envoy", "test clips", "initial model", "best model"]
    personal = personal_models(history)
    if personal:
        header += ["personal model", "on its validation clips", "kept"]
    rows = []
    for name in history.envoys:
        before = history.score(TEST_INITIAL, 0, name)
        after = history.score(TEST_BEST, history.rounds + 1, name)
        if before is not None and after is not None:
            cells = [name, f"{after.clips:,}", f"{before.accuracy:.1%}", f"{after.accuracy:.1%}"]
            rows.append([*cells, *personal_cells(personal.get(name))] if personal else cells)
    return Table(header, rows)


def confusions_in_words(confusion: NDArray[np.int64], labels: Sequence[str]) -> str:
    """Return two lines with the three most frequent confusions and the word that is found least."""
    off_diagonal = confusion - np.diag(np.diag(confusion))
    pairs = [
        divmod(int(k), len(labels)) for k in np.argsort(off_diagonal, axis=None, kind="stable")[::-1][:3]
    ]
    named = [f"{labels[i]} taken for {labels[j]} ({n}×)" for i, j in pairs if (n := off_diagonal[i, j])]
    if not named:
        return "No clip was confused."
    totals = confusion.sum(axis=1)
    recall = np.where(totals > 0, np.diag(confusion) / np.maximum(totals, 1), np.inf)
    worst = int(np.argmin(recall))
    return (
        f"Most frequent confusions: {', '.join(named)}.\n"
        f"Hardest class: {labels[worst]}, {recall[worst]:.0%} of {totals[worst]:,} clips are right."
    )
