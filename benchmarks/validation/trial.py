"""A trial: one tuning, recipe and strategy, named by one line of text."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.compare.plan import CENTRALISED, FEDERATED, POOLED, REAL, Job, work_for
from superb_ks.recipe import Recipe
from superb_ks.settings import STRATEGIES, TUNINGS, FedAvg, Settings, strategy_named, tuning_named

PARTITIONS = ("iid", "speaker", "dirichlet")
ENVOYS = 4

TRIALS = (
    *("full", "full mask_time_prob=0 mask_feature_prob=0", "full shift_seconds=0.1", "full speed_change=0"),
    *(
        "full learning_rate=0.0005",
        "full learning_rate=0.002",
        "full batch_size=16",
        "full epochs_per_round=6",
    ),
    *("lora", "lora learning_rate=0.002", "lora learning_rate=0.008", "lora batch_size=16"),
    *("head", "head weight_decay=1", "head weight_decay=10", "head learning_rate=0.002"),
    *("dirichlet fedavg", "dirichlet median"),
    *("dirichlet fedprox", "dirichlet fedprox mu=0.001", "dirichlet fedprox mu=0.1"),
    *("dirichlet fedadam", "dirichlet fedadam learning_rate=0.001", "dirichlet fedadam learning_rate=0.004"),
    *("dirichlet fedadam beta1=0.9", "dirichlet fedyogi", "dirichlet fedyogi learning_rate=0.004"),
    *("dirichlet fedavg rounds=4 epochs_per_round=3", "speaker fedavg"),
    *("speaker fedavg rounds=4 epochs_per_round=3", "speaker fedavg rounds=6 epochs_per_round=2"),
    *("iid fedavg", "iid median", "iid fedprox", "iid fedadam", "iid fedyogi"),
    *("dirichlet fedavg batch_size=16", "speaker fedavg batch_size=16", "iid fedavg batch_size=16"),
)
"""What is tried: the recipes and strategies as they are, each with what was changed in it below it."""


@dataclass(frozen=True)
class Trial:
    """What a line of text stands for.

    Attributes:
        text: "TUNING" for training in one place, or "PARTITION STRATEGY" for four envoys, then what is
            changed, as NAME=VALUE: in the recipe, and with envoys in the strategy that has such a field, or
            `rounds`.
        partition: of the four envoys; None: in one place.
        settings: of the training; its seed is 0.
    """

    text: str
    partition: str | None
    settings: Settings

    @property
    def base(self) -> str:
        """The trial without changes, which this one is compared with; of a strategy, FedAvg's."""
        return f"{self.partition} {FedAvg.name}" if self.partition else self.settings.tuning.name


def parse(text: str) -> Trial:
    """Read a trial.

    Raises:
        ValueError: there is no such tuning, partition or strategy, or it has no such field or value.
    """
    head, *more = text.split() or [""]
    text = " ".join([head, *more])
    if head in TUNINGS:
        work = work_for(Job(REAL, CENTRALISED, POOLED, tuning=head))
        recipe = Recipe.from_dict({"epochs_per_round": work.epochs, **_changes(more)})
        return Trial(text, None, Settings(tuning=tuning_named(head), recipe=recipe, rounds=work.rounds))
    if head not in PARTITIONS:
        raise ValueError(f"trial {text!r} begins with {head!r}; legal: {', '.join((*TUNINGS, *PARTITIONS))}")
    if not more:
        raise ValueError(f"trial {text!r} has no strategy; legal: {', '.join(STRATEGIES)}")
    changes = _changes(more[1:])
    work = work_for(Job(REAL, FEDERATED, head, ENVOYS))
    rounds = changes.pop("rounds", work.rounds)
    kind = type(strategy_named(more[0]))
    names = {field.name for field in fields(Recipe)} - {field.name for field in fields(kind)}
    own = {"epochs_per_round": work.epochs, **{name: changes.pop(name) for name in names & changes.keys()}}
    strategy, complete = kind.from_dict(changes), Recipe.from_dict(own)
    return Trial(text, head, Settings(strategy=strategy, recipe=complete, rounds=rounds))


def _changes(words: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE; values are numbers as JSON has them."""
    changes = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            changes[name] = json.loads(value)
        except ValueError:
            raise ValueError(
                f"{word!r} is no change; legal: NAME=NUMBER, such as learning_rate=0.002"
            ) from None
    return changes
