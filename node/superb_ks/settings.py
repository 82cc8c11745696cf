"""What a data scientist chooses for one experiment. Imports nothing but the standard library.

`Settings` holds a few groups: how the model is tuned, its recipe, the strategy, early stopping, privacy,
failures, addresses.

Each group checks itself when it is made, and has the parameters of one choice and no others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

from superb_ks.addresses import Addresses
from superb_ks.checked import (
    ABOVE_0,
    COUNT,
    FRACTION,
    TEXT,
    TRUE_OR_FALSE,
    Checked,
    Range,
    among,
    changes,
    checked,
    is_int,
    is_real,
    nested,
    or_none,
)
from superb_ks.recipe import AUGMENTATIONS, TINY, CompleteRecipe, Recipe, legal_tunings, recipe_for
from superb_ks.stopping_settings import EarlyStopping
from superb_ks.strategy_settings import (
    STRATEGIES,
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    FedYogi,
    Strategy,
    TrimmedMean,
    strategy_named,
)
from superb_ks.tuning_settings import TUNINGS, Full, Head, Lora, Tuning, tuning_named

__all__ = [
    "ENGINES",
    "STRATEGIES",
    "NOTEBOOKS_OWN",
    "SUPERB_LABELS",
    "TUNINGS",
    "Addresses",
    "CompleteRecipe",
    "EarlyStopping",
    "Failures",
    "FedAdam",
    "FedAvg",
    "FedMedian",
    "FedProx",
    "FedYogi",
    "Full",
    "Head",
    "Lora",
    "Privacy",
    "Recipe",
    "Settings",
    "Strategy",
    "TrimmedMean",
    "Tuning",
    "strategy_named",
    "tuning_named",
]

SUPERB_LABELS = (
    *("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
    *("_silence_", "_unknown_"),
)
"""The twelve classes of SUPERB keyword spotting, in its order."""

ENGINES = ("openfl", "flower")
"""What carries an experiment out."""

NOTEBOOKS_OWN = ("engine", "addresses", "experiment_name", "test_data", "runs_dir")
"""Fields that no other node needs to know."""

# Longer than this and Python's timers overflow.
_SECONDS = Range(lambda value: is_real(value) and 0 < value <= 1e6, "above 0, up to 1,000,000")
# Of less noise than this epsilon cannot be computed; it is astronomical long before.
_NOISE = Range(lambda value: is_real(value) and 1e-9 <= value <= 1e6, "from 1e-9 to 1,000,000")
_PROBABILITY = Range(lambda value: is_real(value) and 0 < value < 1, "in (0, 1)")
_ROUNDS = Range(lambda value: is_int(value, 1, 100_000), "a whole number from 1 to 100,000")
_SEED = Range(lambda value: is_int(value, 0, 2**32 - 1), "a whole number from 0 to 2**32 - 1")
NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
"""Of experiments, envoys and users."""
_NAME = Range(
    lambda value: isinstance(value, str) and NAME_PATTERN.fullmatch(value) is not None,
    "up to 63 letters, digits, '-' and '_', starting with a letter",
)
_ENVOYS = Range(
    lambda value: (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(map(_NAME.contains, value))
        and len(set(value)) == len(value)
    ),
    "a list of envoys' names, each once, such as ['clinic', 'phone']",
)


@dataclass(frozen=True, kw_only=True)
class Privacy(Checked):
    """Differential privacy for each envoy (docs/privacy.md); every envoy then counts the same.

    Attributes:
        clip_norm: L2 norm to which an envoy's change of a round is shortened.
        noise_multiplier: standard deviation of the noise on the sum of the changes, in clipping norms.
        delta: that the spent epsilon is computed for.
    """

    clip_norm: float = checked(ABOVE_0)
    noise_multiplier: float = checked(_NOISE)
    delta: float = checked(_PROBABILITY, 1e-5)


@dataclass(frozen=True, kw_only=True)
class Failures(Checked):
    """What happens when envoys fail.

    Attributes:
        min_envoys: how many must be online before an experiment is submitted, and stay until its end.
        round_timeout_seconds: a round closes after so long with those who have reported; None waits for all
            that live.
        on_task_error: "fail" ends the experiment when a task raises on one envoy, "continue" goes on
            without it.
    """

    min_envoys: int = checked(COUNT, 1)
    round_timeout_seconds: float | None = checked(or_none(_SECONDS), None)
    on_task_error: str = checked(among("fail", "continue"), "fail")

    def __repr__(self) -> str:
        return changes(self)


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """One experiment's settings.

    Attributes:
        model: "tiny" (the pretrained model that ships with this package), "scratch" (the same from random
            weights), a model id of the Hugging Face hub, or a folder written by `save_pretrained`. The recipe
            goes by this name: a folder gets that of pretrained models, even if it holds a tiny one.
        tuning: what is trained and sent: `Full()`, `Lora(...)` or `Head()`.
        recipe: what is changed in the model's own recipe.
        rounds: training rounds; every envoy trains and the director averages once in each.
        early_stopping: when the rounds that are left are skipped; by default never.
        strategy: how updates become the next model, one of `STRATEGIES`.
        privacy: differential privacy; None: none.
        personalise: in the end each envoy trains the best model for one more round on its own clips, and
            keeps the result for itself if it is better on its own validation clips.
        envoys: who takes part, by name, kept in alphabetical order; the others are asked for nothing. None:
            all that are online.
        fraction: share of the envoys that train in a round, rounded up and drawn from the seed; the others
            only validate.
        failures: what happens when envoys fail.
        engine: "openfl" (director and envoys) or "flower" (SuperLink and SuperNodes).
        addresses: hosts, ports and certificates.
        seed: initial weights, order of clips and dropout all follow from it.
        precision: "bfloat16" trains under autocast, "float32" does not, "auto" uses bfloat16 where the
            processor or the GPU computes in it. Evaluation is always in float32.
        experiment_name: letters, digits, "-" and "_", starting with a letter; None makes one up.
        test_data: folder of a test archive, or the testing list of a training archive, for playing clips and
            scoring the model in the notebook; None: what the envoy's folder next to the notebook's names.
        runs_dir: folder that receives one folder a run, relative to the notebook.
    """

    model: str = checked(TEXT, TINY)
    tuning: Tuning = nested(TUNINGS, Full())
    recipe: Recipe = nested({"": Recipe}, Recipe())
    rounds: int = checked(_ROUNDS, 3)
    early_stopping: EarlyStopping = nested({"": EarlyStopping}, EarlyStopping())
    strategy: Strategy = nested(STRATEGIES, FedAvg())
    privacy: Privacy | None = nested({"": Privacy}, None, optional=True)
    personalise: bool = checked(TRUE_OR_FALSE, False)
    envoys: tuple[str, ...] | None = checked(or_none(_ENVOYS), None)
    fraction: float = checked(FRACTION, 1.0)
    failures: Failures = nested({"": Failures}, Failures())
    engine: str = checked(among(*ENGINES), "openfl")
    addresses: Addresses = nested({"": Addresses}, Addresses())
    seed: int = checked(_SEED, 0)
    precision: str = checked(among("auto", "float32", "bfloat16"), "auto")
    experiment_name: str | None = checked(or_none(_NAME), None)
    test_data: str | None = checked(or_none(TEXT), None)
    runs_dir: str = checked(TEXT, "../runs")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.envoys is not None:
            least = self.failures.min_envoys
            self._require(len(self.envoys) >= least, "envoys", f"at least {least} names, as min_envoys says")
            self._require(
                self.engine == "openfl", "envoys", "None with engine 'flower', where all SuperNodes take part"
            )
            object.__setattr__(self, "envoys", tuple(sorted(self.envoys)))
        legal = legal_tunings(self.model)
        names = " or ".join(f"{kind.__name__}(...)" for kind in legal.values())
        self._require(self.tuning.name in legal, "tuning", f"{names} with model {self.model!r}")
        changed = [name for name in AUGMENTATIONS if getattr(self.recipe, name)]
        self._require(
            not (isinstance(self.tuning, Head) and changed),
            "recipe",
            f"{' and '.join(changed)} None with tuning Head(), which hears clips as they are",
        )
        averaging = " or ".join(f"{kind.__name__}(...)" for kind in STRATEGIES.values() if kind.averages)
        self._require(self.privacy is None or self.strategy.averages, "strategy", f"{averaging} with privacy")
        self._require(
            self.privacy is None or self.engine == "openfl" or isinstance(self.strategy, FedAvg | FedProx),
            "strategy",
            "FedAvg() or FedProx(...) with privacy and engine 'flower'",
        )

    def __repr__(self) -> str:
        return changes(self)

    def for_nodes(self) -> Settings:
        """Return the same without what concerns the notebook alone, `NOTEBOOKS_OWN`."""
        own: dict[str, Any] = {item.name: item.default for item in fields(self) if item.name in NOTEBOOKS_OWN}
        return replace(self, **own)

    @property
    def complete_recipe(self) -> CompleteRecipe:
        """The recipe that this experiment trains by: the model's own, with `recipe` put over it."""
        chosen = {item.name: getattr(self.recipe, item.name) for item in fields(Recipe)}
        set_here = {name: value for name, value in chosen.items() if value is not None}
        return replace(recipe_for(self.model, self.tuning.name), **set_here)
