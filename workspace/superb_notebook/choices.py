"""What a data scientist chooses between, side by side: what is trained and sent, and how it is averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from superb_ks.model.packing import trainable_layout
from superb_ks.model.spec import ModelSpec
from superb_ks.recipe import legal_tunings
from superb_ks.settings import STRATEGIES, Settings, Tuning
from superb_notebook.tables import Table


@dataclass(frozen=True)
class UpdateSize:
    """How large an update is.

    Attributes:
        tuning: what is trained.
        trained: weights that are trained, and therefore sent.
        parameters: weights of the whole model, adapters included.
    """

    tuning: Tuning
    trained: int
    parameters: int

    @property
    def nbytes(self) -> int:
        """Bytes of one update on the wire, as float32."""
        return 4 * self.trained


def update_sizes(settings: Settings, labels: Sequence[str]) -> list[UpdateSize]:
    """Build the model once for each way to tune it that it allows, and count.

    Args:
        settings: the experiment's; its model is looked at.
        labels: class names, in the order of the model's outputs.
    """
    sizes = []
    for kind in legal_tunings(settings.model).values():
        tuning = settings.tuning if isinstance(settings.tuning, kind) else kind()
        model = replace(ModelSpec.of(settings, labels), tuning=tuning).build()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        sizes.append(UpdateSize(tuning, trainable_layout(model)[-1].stop, parameters))
    return sizes


def tunings_table(sizes: Sequence[UpdateSize], settings: Settings) -> Table:
    """Return one row for each tuning, what it sends included; the chosen one is bold."""
    header = ["tuning", "what is trained", "weights", "of all", "MB an update", "MB an envoy, all rounds"]
    rows = []
    for size in sizes:
        megabytes = size.nbytes / 1e6
        share = f"{size.trained / size.parameters:.1%}"
        what = size.tuning.summary if size.trained < size.parameters else "everything"
        sent = [f"{megabytes:.2f}", f"{megabytes * settings.rounds:.2f}"]
        rows.append([size.tuning.name, what, f"{size.trained:,}", share, *sent])
    return Table(header, rows, bold=[size.tuning for size in sizes].index(settings.tuning))


def strategies_table(settings: Settings) -> Table:
    """Return one row for each strategy, with its parameters; the chosen one is bold."""
    rows = []
    for kind in STRATEGIES.values():
        strategy = settings.strategy if isinstance(settings.strategy, kind) else kind()
        parameters = ", ".join(f"{name}={value:g}" for name, value in vars(strategy).items())
        rows.append([kind.name, kind.summary, parameters or "–"])
    chosen = list(STRATEGIES).index(settings.strategy.name)
    return Table(["strategy", "the next model", "parameters"], rows, bold=chosen)
