"""What a data scientist chooses between, side by side: what is trained and sent, and how it is averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from superb_ks.model.packing import trained_layout
from superb_ks.model.spec import ModelSpec
from superb_ks.recipe import legal_tunings
from superb_ks.settings import STRATEGIES, Settings
from superb_notebook.tables import Table

TRAINED = {
    "full": "all but the feature encoder",
    "lora": "low-rank adapters, and the head",
    "head": "a weighted sum of the layers, and the head",
}
"""What each tuning trains; all of a model that starts from random weights."""

NEXT_MODEL = {
    "fedavg": "mean of the updates, weighted by clips",
    "fedprox": "the same; training is held near the round's start",
    "fedadam": "a step of Adam along the mean change",
    "fedyogi": "the same, with steps that stay small for longer after a large change",
    "median": "of each weight the median, all envoys alike",
    "trimmed_mean": "of each weight the mean, without the largest and the smallest",
}
"""How each strategy makes the next model of a round's updates."""


@dataclass(frozen=True)
class UpdateSize:
    """How large an update is.

    Attributes:
        tuning: "full", "lora" or "head".
        trained: weights that are trained, and therefore sent.
        parameters: weights of the whole model, adapters included.
    """

    tuning: str
    trained: int
    parameters: int

    def nbytes(self, update_dtype: str = "float32") -> int:
        """Bytes of one update on the wire."""
        return self.trained * (2 if update_dtype == "bfloat16" else 4)


def update_sizes(settings: Settings, labels: Sequence[str]) -> list[UpdateSize]:
    """Build the model once for each way to tune it that it allows, and count.

    Args:
        settings: the experiment's; its model is looked at.
        labels: class names, in the order of the model's outputs.
    """
    sizes = []
    for tuning in legal_tunings(settings.model):
        model = replace(ModelSpec.of(settings, labels), tuning=tuning).build()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        sizes.append(UpdateSize(tuning, trained_layout(model)[-1].stop, parameters))
    return sizes


def tunings_table(sizes: Sequence[UpdateSize], settings: Settings) -> Table:
    """Return one row for each tuning, what it sends included; the chosen one is bold."""
    header = ["tuning", "what is trained", "weights", "of all", "MB an update", "MB an envoy, all rounds"]
    rows = []
    for size in sizes:
        megabytes = size.nbytes(settings.update_dtype) / 1e6
        share = f"{size.trained / size.parameters:.1%}"
        what = TRAINED[size.tuning] if size.trained < size.parameters else "everything"
        sent = [f"{megabytes:.2f}", f"{megabytes * settings.rounds:.2f}"]
        rows.append([size.tuning, what, f"{size.trained:,}", share, *sent])
    return Table(header, rows, bold=[size.tuning for size in sizes].index(settings.tuning))


def strategies_table(settings: Settings) -> Table:
    """Return one row for each strategy, with its parameters; the chosen one is bold."""
    rows = []
    for name, takes in STRATEGIES.items():
        values = settings.strategy_parameters if name == settings.strategy else takes
        parameters = ", ".join(f"{parameter}={value:g}" for parameter, value in values.items())
        rows.append([name, NEXT_MODEL[name], parameters or "–"])
    return Table(
        ["strategy", "the next model", "parameters"], rows, bold=list(STRATEGIES).index(settings.strategy)
    )
