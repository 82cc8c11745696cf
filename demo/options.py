"""What the user asks of the demo, checked before anything starts."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from demo.envoy_config import ShardValue
from demo.errors import DemoError

SYNTHETIC = "synthetic"
TINY = "tiny"
SCRATCH = "scratch"
NO_BASELINE = "none"
TUNINGS = ("full", "lora", "head")
STRATEGIES = ("fedavg", "fedprox", "fedadam", "fedyogi", "median", "trimmed_mean")
PARTITIONS = ("iid", "speaker", "dirichlet", "quantity")
SKEWED = ("dirichlet", "quantity")
TEST_FOLDER = "speech_commands_test_set_v0.01"
LISTED = "testing_list"
MAX_ENVOYS = 32
MAX_ROUNDS = 1000


class OptionError(DemoError):
    """An option has no legal value; the message is one line that names it and the legal ones."""


@dataclass(frozen=True)
class Options:
    """The demo's settings.

    Attributes:
        envoys: how many collaborators.
        rounds: training rounds.
        partition: how clips are shared out, one of PARTITIONS.
        alpha: of the partitions in SKEWED; the smaller, the more skew.
        model: "tiny" (the pretrained miniature), "scratch" (it, from random weights), a hub id, or the
            absolute path of a folder.
        tuning: what is trained and sent, one of TUNINGS.
        strategy: how updates become the next model, one of STRATEGIES.
        baseline: a model like `model`, trained beside it for comparison; None for none.
        data_dir: folder of the training archive; None for the embedded synthetic speech.
        test_dir: folder of the test archive, or LISTED for the clips that the training archive's testing list
            names; None for the embedded synthetic speech.
        seed: of speech, partition, initial weights and training.
    """

    envoys: int = 2
    rounds: int = 3
    partition: str = "iid"
    alpha: float = 0.5
    model: str = TINY
    data_dir: Path | None = None
    test_dir: Path | str | None = None
    seed: int = 0
    tuning: str = "full"
    strategy: str = "fedavg"
    baseline: str | None = SCRATCH

    @property
    def shard_params(self) -> dict[str, ShardValue]:
        """Parameters for every envoy's shard descriptor."""
        shared: dict[str, ShardValue] = {"partition": self.partition, "seed": self.seed}
        if self.partition in SKEWED:
            shared["alpha"] = self.alpha
        if self.data_dir is None:
            return {"source": SYNTHETIC, **shared}
        return {"source": "folder", "data_dir": str(self.data_dir), "test_dir": str(self.test_dir), **shared}


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line.

    Raises:
        OptionError: an option is unknown or has no legal value, or a folder does not exist.
    """
    named = _parser().parse_args(arguments)
    if named.partition not in PARTITIONS:
        raise OptionError(f"PARTITION={named.partition}: legal values are {', '.join(PARTITIONS)}")
    if named.strategy not in STRATEGIES:
        raise OptionError(f"STRATEGY={named.strategy}: legal values are {', '.join(STRATEGIES)}")
    data_dir, test_dir = _folders(named.data, named.test_data)
    model = _model(named.model)
    return Options(
        envoys=_whole_number("ENVOYS", named.envoys, 1, MAX_ENVOYS),
        rounds=_whole_number("ROUNDS", named.rounds, 1, MAX_ROUNDS),
        partition=named.partition,
        alpha=_above_zero("ALPHA", named.alpha),
        model=model,
        data_dir=data_dir,
        test_dir=test_dir,
        seed=_whole_number("SEED", named.seed, 0, 2**31 - 1),
        tuning=_tuning(named.tuning, model),
        strategy=named.strategy,
        baseline=_baseline(named.baseline, model),
    )


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing a usage message and leaving."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def _parser() -> argparse.ArgumentParser:
    """All values stay text here, so that a bad one is reported under the name that `make` uses."""
    description = "Run the whole tutorial and print its results."
    parser = _Parser(prog="python -m demo", description=description, allow_abbrev=False)
    parser.add_argument("--envoys", default="2", help="collaborators (2)")
    parser.add_argument("--rounds", default="3", help="training rounds (3)")
    parser.add_argument("--partition", default="iid", help=f"{' | '.join(PARTITIONS)} (iid)")
    parser.add_argument("--alpha", default="0.5", help="skew of dirichlet and quantity, above 0 (0.5)")
    parser.add_argument("--model", default=TINY, help="tiny | scratch | hub id | folder (tiny)")
    parser.add_argument("--tuning", default="full", help=f"{' | '.join(TUNINGS)} (full)")
    parser.add_argument("--strategy", default="fedavg", help=f"{' | '.join(STRATEGIES)} (fedavg)")
    parser.add_argument("--baseline", default="", help="model beside it, or none (scratch beside tiny)")
    parser.add_argument("--data", default=SYNTHETIC, help="synthetic | training archive's folder (synthetic)")
    parser.add_argument(
        "--test-data", default="", help=f"its folder, or {LISTED} ({TEST_FOLDER} beside DATA)"
    )
    parser.add_argument("--seed", default="0", help="of speech, partition, weights and training (0)")
    return parser


def _whole_number(name: str, text: str, lowest: int, highest: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = lowest - 1
    if not lowest <= number <= highest:
        raise OptionError(f"{name}={text}: legal values are whole numbers from {lowest} to {highest}")
    return number


def _above_zero(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise OptionError(f"{name}={text}: legal values are numbers above 0")
    return number


def _folders(data: str, test_data: str) -> tuple[Path | None, Path | str | None]:
    """Absolute folders of training and test archive (or LISTED); None and None for the synthetic speech."""
    if data == SYNTHETIC:
        if test_data:
            raise OptionError(f"TEST_DATA={test_data}: goes with DATA=PATH only; DATA is {SYNTHETIC}")
        return None, None
    data_dir = Path(os.path.expanduser(data)).resolve()
    if not data or not data_dir.is_dir():
        raise OptionError(
            f"DATA={data}: no such folder; legal values are {SYNTHETIC} and the training archive's folder"
        )
    if test_data == LISTED:
        return data_dir, LISTED
    test_dir = Path(os.path.expanduser(test_data)).resolve() if test_data else data_dir.parent / TEST_FOLDER
    if test_dir.is_dir():
        return data_dir, test_dir
    if test_data:
        raise OptionError(
            f"TEST_DATA={test_data}: no such folder; legal values are the test archive's and {LISTED}"
        )
    raise OptionError(
        f"DATA={data}: no {TEST_FOLDER} beside it; name the test archive with TEST_DATA=PATH, or have none: "
        f"TEST_DATA={LISTED} tests on what {LISTED}.txt in DATA names"
    )


def _model(model: str, name: str = "MODEL") -> str:
    """A folder becomes an absolute path, as every node looks for it from its own place."""
    folder = Path(os.path.expanduser(model))
    if model not in ("", TINY, SCRATCH) and folder.is_dir():
        return str(folder.resolve())
    if not model or model.startswith((".", "/", "~")):
        raise OptionError(
            f"{name}={model}: no such folder; legal values are {TINY}, {SCRATCH}, a hub id and a folder"
        )
    return model


def _baseline(baseline: str, model: str) -> str | None:
    """By default the miniature has itself from random weights beside it, and other models have nothing."""
    if baseline == NO_BASELINE or (not baseline and model != TINY):
        return None
    return _model(baseline, "BASELINE") if baseline else SCRATCH


def _tuning(tuning: str, model: str) -> str:
    legal = TUNINGS[:1] if model == SCRATCH else TUNINGS
    if tuning not in legal:
        raise OptionError(f"TUNING={tuning}: legal values with MODEL={model} are {', '.join(legal)}")
    return tuning
