"""The comparison's plot: what federating costs in accuracy and in bytes, and for whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.compare.panels import draw_bytes, draw_classes, draw_envoys, draw_epochs, draw_strategies
from superb_notebook.plots import style
from superb_notebook.results import Row

Panel = Callable[[Axes, Sequence[Row]], None]
PANELS: dict[str, Panel] = {
    "epochs": draw_epochs,
    "bytes": draw_bytes,
    "classes": draw_classes,
    "envoys": draw_envoys,
    "strategies": draw_strategies,
}
LAYOUT: Any = [["epochs"] * 3 + ["bytes"] * 3, ["classes"] * 2 + ["envoys"] * 2 + ["strategies"] * 2]


def save_plot(rows: Sequence[Row], path: Path) -> None:
    """Draw all panels and publish the image atomically."""
    with style():
        figure = Figure(figsize=(14.4, 9.0), layout=ConstrainedLayoutEngine(hspace=0.09, wspace=0.05))
        for name, axes in figure.subplot_mosaic(LAYOUT).items():
            PANELS[name](axes, rows)
            axes.spines["left"].set_visible(False)
        publish(figure, path)


def publish(figure: Figure, path: Path) -> None:
    """Put a finished figure where it belongs; nobody sees half of the image."""
    partial = path.with_name(f".partial-{path.name}")
    figure.savefig(partial, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)
    os.replace(partial, path)
