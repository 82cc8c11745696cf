"""What a simulation leaves in its run's folder: the best model, a plot, and `summary.json`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from simulation.options import Options
from superb_ks.run_files import CARDS
from superb_node.work_folder import replace_file
from superb_notebook.history import History
from superb_notebook.plots import plot_learning, show
from superb_notebook.summary import write_summary

PLOT = "learning.png"


def draw(history: History, run_dir: Path) -> None:
    """Draw into the run's folder how it learns, or has learned."""
    replace_file(run_dir / PLOT, show(plot_learning(history), "loss and accuracy over the rounds").data)


def keep(options: Options, history: History, output: Path, run_dir: Path) -> None:
    """Write model, plot and summary into the run's folder; the server's own folder goes."""
    cards = json.loads((output / CARDS).read_text(encoding="utf-8"))
    history.envoys = sorted(cards)
    (output / "model").rename(run_dir / "model")
    draw(history, run_dir)
    further = {
        "clients": len(cards),
        "clients_with_clips": {
            split: sum(bool(sum(card["clips"][split].values())) for card in cards.values())
            for split in ("train", "val", "test")
        },
        "fraction": options.settings.fraction,
        "fraction_evaluate": options.evaluate,
    }
    write_summary(run_dir, options.settings, cards, history, further=further)
    shutil.rmtree(output)
