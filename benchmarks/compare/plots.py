"""The comparison's plot: what federating costs in accuracy, in bytes and in time, and for whom."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from superb_notebook.plots import style
from superb_notebook.results import Row
from superb_notebook.results_plots import (
    draw_bytes,
    draw_classes,
    draw_envoys,
    draw_passes,
    draw_seconds,
    draw_strategies,
)

PANELS = ((draw_passes, draw_bytes, draw_seconds), (draw_classes, draw_envoys, draw_strategies))


def save_plot(rows: Sequence[Row], path: Path) -> None:
    """Draw all panels and publish the image atomically."""
    with style():
        figure = Figure(figsize=(14.4, 8.6), layout=ConstrainedLayoutEngine(hspace=0.09, wspace=0.05))
        for row, places in zip(PANELS, figure.subplots(2, 3), strict=True):
            for draw, axes in zip(row, places, strict=True):
                draw(axes, rows)
                axes.spines["left"].set_visible(False)
        partial = path.with_name(f".partial-{path.name}")
        figure.savefig(partial, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)
    os.replace(partial, path)
