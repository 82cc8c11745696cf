"""What the user asks of a simulation, checked before anything starts."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from demo.options import (
    MAX_ROUNDS,
    SKEWED,
    SYNTHETIC,
    OptionError,
    Parser,
    archive_folders,
    model_named,
    number_above_zero,
    one_of,
    whole_number,
)
from simulation.engine import most_workers
from superb_ks.checked import ABOVE_0, FRACTION, Checked, Range, among, checked, is_int, nested
from superb_ks.recipe import legal_tunings
from superb_ks.settings import Recipe, Settings, strategy_named, tuning_named
from superb_ks.strategy_settings import STRATEGIES
from superb_node.labels import FEWEST_SPEAKERS, PARTITIONS

MAX_CLIENTS, MAX_EPOCHS = 10_000, 100
_CLIENTS = Range(lambda value: is_int(value, 1, MAX_CLIENTS), f"a whole number from 1 to {MAX_CLIENTS:,}")
_FOLDER = Range(lambda value: value is None or isinstance(value, (Path, str)), "None or a folder")
_OPTIONS = {
    "clients": ("200", "clients; with PARTITION=speaker each has one speaker, if there are enough"),
    "fraction": ("0.05", "share of the clients with training clips that train in a round"),
    "evaluate": ("1", "share of the clients with validation clips that validate each round's model"),
    "rounds": ("20", "training rounds"),
    "epochs": ("", "epochs of a client over its clips in a round; default: the model's recipe"),
    "partition": ("speaker", " | ".join(PARTITIONS)),
    "alpha": ("0.5", "skew of dirichlet and quantity, above 0"),
    "data": (SYNTHETIC, "synthetic | folder of the training archive"),
    "test-data": ("", "folder of the test archive, or testing_list"),
    "seed": ("0", "of speech, partition, weights, training and of who trains"),
    "model": ("tiny", "tiny | scratch | hub id | folder"),
    "tuning": ("full", "full | lora | head"),
    "strategy": ("fedavg", " | ".join(STRATEGIES)),
}


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """What the user asks for.

    Attributes:
        clients: how many are simulated.
        settings: of the experiment.
        evaluate: share of the clients with validation clips that validate.
        partition: how clips are shared out.
        alpha: of dirichlet and quantity.
        data_dir: folder of the training archive; None for synthetic speech.
        test_dir: folder of the test archive, or testing_list; None for synthetic speech.
    """

    clients: int = checked(_CLIENTS, 200)
    settings: Settings = nested({"": Settings}, Settings())
    evaluate: float = checked(FRACTION, 1.0)
    partition: str = checked(among(*PARTITIONS), "speaker")
    alpha: float = checked(ABOVE_0, 0.5)
    data_dir: Path | None = checked(_FOLDER, None)
    test_dir: Path | str | None = checked(_FOLDER, None)

    def __post_init__(self) -> None:
        super().__post_init__()
        # This refuses what Flower cannot do.
        object.__setattr__(self, "settings", replace(self.settings, engine="flower"))

    @property
    def speakers(self) -> int:
        """Speakers of the synthetic speech: as many as there are clients, or its fewest."""
        return max(FEWEST_SPEAKERS, self.clients)

    @property
    def workers(self) -> int:
        """Processes that play the clients: `most_workers`, or fewer for the larger share of all clients.

        By speaker some of them only train and others only validate or test, so fewer than that are asked at
        a time; how many of each there are is known when the clips are shared out.
        """
        asked = max(self.settings.fraction, self.evaluate) * self.clients
        return max(1, min(most_workers(), math.ceil(asked)))

    @property
    def run_config(self) -> dict[str, Any]:
        """What the app's run config says in place of its defaults."""
        settings = self.settings
        source = (
            {"source": SYNTHETIC, "speakers": self.speakers}
            if self.data_dir is None
            else {"source": "folder", "data-dir": str(self.data_dir), "test-dir": str(self.test_dir)}
        )
        return {
            "model": settings.model,
            "tuning": settings.tuning.name,
            "strategy": settings.strategy.name,
            "rounds": settings.rounds,
            "epochs-per-round": settings.recipe.epochs_per_round or 0,
            "fraction": settings.fraction,
            "fraction-evaluate": self.evaluate,
            "seed": settings.seed,
            **source,
            "partition": self.partition,
            **({"alpha": self.alpha} if self.partition in SKEWED else {}),
            # Of a speaker there are clips in one split only: others validate and test.
            "min-shard": 0 if self.partition == "speaker" else 1,
        }


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line.

    Raises:
        OptionError: an option is unknown or has no legal value, or a folder or Flower is missing.
    """
    parser = Parser(prog="python -m simulation", description="Simulate many clients.")
    for name, (default, description) in _OPTIONS.items():
        parser.add_argument(f"--{name}", default=default, help=f"{description} ({default or 'none'})")
    named = parser.parse_args(arguments)
    for name, (default, _) in _OPTIONS.items():
        if not getattr(named, name.replace("-", "_")):  # make passes on empty texts
            setattr(named, name.replace("-", "_"), default)
    data_dir, test_dir = archive_folders(named.data, named.test_data)
    model = model_named("MODEL", named.model)
    tuning = one_of("TUNING", named.tuning, legal_tunings(model), f" with MODEL={model}")
    epochs = whole_number("EPOCHS", named.epochs, 1, MAX_EPOCHS) if named.epochs else None
    settings = Settings(
        model=model,
        tuning=tuning_named(tuning),
        strategy=strategy_named(one_of("STRATEGY", named.strategy, STRATEGIES)),
        recipe=Recipe(epochs_per_round=epochs),
        rounds=whole_number("ROUNDS", named.rounds, 1, MAX_ROUNDS),
        fraction=number_above_zero("FRACTION", named.fraction, 1.0),
        seed=whole_number("SEED", named.seed, 0, 2**31 - 1),
    )
    options = Options(
        clients=whole_number("CLIENTS", named.clients, 1, MAX_CLIENTS),
        settings=settings,
        evaluate=number_above_zero("EVALUATE", named.evaluate, 1.0),
        partition=one_of("PARTITION", named.partition, PARTITIONS),
        alpha=number_above_zero("ALPHA", named.alpha),
        data_dir=data_dir,
        test_dir=test_dir,
    )
    require_flower()
    return options


def require_flower() -> None:
    """Make sure that Flower and Ray are there.

    Raises:
        OptionError: they are not.
    """
    if find_spec("flwr") is None or find_spec("ray") is None:
        if sys.version_info < (3, 11):
            raise OptionError(
                f"Flower needs Python 3.11 or later; this is {platform.python_version()}: make clean, "
                "then the same again with PYTHON=python3.12, say"
            )
        raise OptionError(
            "Flower and Ray are not installed: pip install -r requirements-flower.txt -c constraints.txt"
        )
