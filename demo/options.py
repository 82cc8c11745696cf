"""What the user asks of the demo, checked before anything starts."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from demo import notebook
from demo.envoy_config import ShardValue
from demo.errors import DemoError

__all__ = ["RUN_DIR", "TRACK", "OptionError", "Options", "find_notebook", "parse_options"]

WORKSPACE = Path(__file__).resolve().parent.parent / "workspace"
sys.path.append(str(WORKSPACE))

from superb_ks.recipe import SCRATCH, TINY, is_hub_id, legal_tunings  # noqa: E402
from superb_ks.settings import ENGINES  # noqa: E402
from superb_ks.strategy_settings import STRATEGIES  # noqa: E402
from superb_ks.tuning_settings import TUNINGS  # noqa: E402
from superb_node.labels import LISTED, PARTITIONS, TEST_FOLDER  # noqa: E402
from superb_notebook.tracking.backends import (  # noqa: E402
    BACKENDS,
    RUN_DIR,
    TRACK,
    TrackingError,
    backends_of,
)

TUTORIAL = WORKSPACE / "PyTorch_Huggingface_transformers_SUPERB.ipynb"
SYNTHETIC = "synthetic"
SKEWED = ("dirichlet", "quantity")
MAX_ENVOYS = 32
MAX_ROUNDS = 1000
# A federation takes these; a notebook without one reads only those that are its own settings.
_OF_A_FEDERATION = ("envoys", "partition", "alpha", "data", "test-data", "seed")
# Default and description; an empty setting is the notebook's own.
_OPTIONS = {
    "engine": ("openfl", " | ".join(ENGINES)),
    "notebook": ("1", "1 to 6, or a file"),
    "envoys": ("2", "collaborators"),
    "partition": ("iid", " | ".join(PARTITIONS)),
    "alpha": ("0.5", "skew of dirichlet and quantity, above 0"),
    "data": (SYNTHETIC, "synthetic | folder of the training archive"),
    "test-data": ("", f"folder of the test archive, or {LISTED}; default: {TEST_FOLDER} next to DATA"),
    "seed": ("0", "of speech, partition, weights and training"),
    "model": ("", "tiny | scratch | hub id | folder; default: the notebook's"),
    "tuning": ("", f"{' | '.join(TUNINGS)}; default: the notebook's"),
    "strategy": ("", f"{' | '.join(STRATEGIES)}; default: the notebook's"),
    "baseline": ("", "model trained for comparison, in notebook 3; default: scratch"),
    "rounds": ("", "training rounds; default: the notebook's"),
    "track": ("", f"where records are written too: {' | '.join(BACKENDS)}, several with commas"),
}


class OptionError(DemoError):
    """An option has no legal value; the message is one line that names it and the legal ones."""


@dataclass(frozen=True)
class Options:
    """What the user asks for.

    Attributes:
        notebook: the notebook to run.
        envoys: how many collaborators.
        partition: how clips are shared out, one of PARTITIONS.
        alpha: of the partitions in SKEWED; the smaller, the more skew.
        data_dir: folder of the training archive; None for the embedded synthetic speech.
        test_dir: folder of the test archive, or LISTED for the clips that the training archive's testing list
            names; None for the embedded synthetic speech, until it is made.
        seed: of speech, partition, initial weights and training.
        settings: values for the notebook's cell of settings, by name: ENGINE, MODEL, TUNING, STRATEGY,
            BASELINE and ROUNDS, as far as they were asked for.
        track: where the notebook's records are written too; empty: nowhere.
    """

    notebook: Path = TUTORIAL
    envoys: int = 2
    partition: str = "iid"
    alpha: float = 0.5
    data_dir: Path | None = None
    test_dir: Path | str | None = None
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    track: str = ""

    @property
    def engine(self) -> str:
        """What carries the experiment out."""
        return str(self.settings.get("ENGINE", ENGINES[0]))

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
    parser = Parser(prog="python -m demo", description="Run a notebook with director and envoys.")
    for name, (default, description) in _OPTIONS.items():
        parser.add_argument(f"--{name}", default=default, help=f"{description} ({default or 'none'})")
    named = parser.parse_args(arguments)
    data_dir, test_dir = archive_folders(named.data, named.test_data)
    settings = _settings(named)
    path = find_notebook(named.notebook, settings)
    if not notebook.needs_federation(path):
        if named.track:
            raise OptionError(f"TRACK={named.track}: {path.name} has no records of a federation to track")
        _require_settings(path, _given(named, _OF_A_FEDERATION))
    return Options(
        envoys=whole_number("ENVOYS", named.envoys, 1, MAX_ENVOYS),
        partition=one_of("PARTITION", named.partition, PARTITIONS),
        alpha=number_above_zero("ALPHA", named.alpha),
        data_dir=data_dir,
        test_dir=test_dir,
        seed=whole_number("SEED", named.seed, 0, 2**31 - 1),
        settings=settings,
        notebook=path,
        track=_track(named.track),
    )


def find_notebook(name: str, settings: Collection[str] = ()) -> Path:
    """Find the notebook of a number or a file name, and see that it has these settings.

    Args:
        name: 1 for the tutorial, N for `workspace/N_*.ipynb`, or a file, there or anywhere.
        settings: names that the notebook's cell of settings must have.

    Raises:
        OptionError: there is no such notebook, or it has no such setting.
    """
    numbered = {"1": TUTORIAL, **{path.name[0]: path for path in sorted(WORKSPACE.glob("[2-9]_*.ipynb"))}}
    file = Path(os.path.expanduser(name))
    path = numbered.get(name, file.resolve() if file.is_file() else WORKSPACE / file)
    if not path.is_file():
        legal = f"{', '.join(numbered)} and a notebook's file"
        raise OptionError(f"NOTEBOOK={name}: no such notebook; legal values are {legal}")
    _require_settings(path, settings)
    return path


def _require_settings(path: Path, settings: Collection[str]) -> None:
    """Raise OptionError unless the notebook has these settings."""
    known = notebook.settings_of(path)
    if absent := sorted(set(settings) - known):
        names = ", ".join(sorted(known))
        raise OptionError(f"{absent[0]}: {path.name} has no such setting; it has {names}")


def _given(named: argparse.Namespace, options: Collection[str]) -> list[str]:
    """The settings for these options, as far as they are not the default, which make passes on, too."""
    attributes = {name: name.replace("-", "_") for name in options}
    return [each.upper() for name, each in attributes.items() if getattr(named, each) != _OPTIONS[name][0]]


class Parser(argparse.ArgumentParser):
    """Takes whole names, and raises instead of printing a usage message and leaving."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise OptionError."""
        raise OptionError(message)


def _settings(named: argparse.Namespace) -> dict[str, Any]:
    """The notebook's settings that were asked for."""
    settings: dict[str, Any] = {}
    if one_of("ENGINE", named.engine, ENGINES) != ENGINES[0]:
        settings["ENGINE"] = named.engine
    if named.model:
        settings["MODEL"] = model_named("MODEL", named.model)
    if named.tuning:
        model = named.model or TINY
        settings["TUNING"] = one_of("TUNING", named.tuning, legal_tunings(model), f" with MODEL={model}")
    if named.strategy:
        settings["STRATEGY"] = one_of("STRATEGY", named.strategy, STRATEGIES)
    if named.baseline:
        settings["BASELINE"] = model_named("BASELINE", named.baseline)
    if named.rounds:
        settings["ROUNDS"] = whole_number("ROUNDS", named.rounds, 1, MAX_ROUNDS)
    return settings


def _track(text: str) -> str:
    try:
        backends_of(text, "TRACK")
    except TrackingError as error:
        raise OptionError(str(error)) from error
    return text


def whole_number(name: str, text: str, lowest: int, highest: int) -> int:
    """Read a whole number, or raise OptionError."""
    try:
        number = int(text)
    except ValueError:
        number = lowest - 1
    if not lowest <= number <= highest:
        raise OptionError(f"{name}={text}: legal values are whole numbers from {lowest} to {highest}")
    return number


def number_above_zero(name: str, text: str, highest: float = math.inf) -> float:
    """Read a number that is not infinite, or raise OptionError."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= min(highest, sys.float_info.max):
        upto = "" if highest == math.inf else f", up to {highest:g}"
        raise OptionError(f"{name}={text}: legal values are numbers above 0{upto}")
    return number


def one_of(name: str, text: str, legal: Collection[str], where: str = "") -> str:
    """Return the text if it is a legal one, or raise OptionError."""
    if text not in legal:
        raise OptionError(f"{name}={text}: legal values{where} are {', '.join(legal)}")
    return text


def archive_folders(data: str, test_data: str) -> tuple[Path | None, Path | str | None]:
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
        f"DATA={data}: no {TEST_FOLDER} next to it; name the test archive with TEST_DATA=PATH, or have none: "
        f"TEST_DATA={LISTED} tests on what {LISTED}.txt in DATA names"
    )


def model_named(name: str, model: str) -> str:
    """A folder becomes an absolute path, as every node looks for it from its own place."""
    folder = Path(os.path.expanduser(model))
    if model not in (TINY, SCRATCH) and folder.is_dir():
        return str(folder.resolve())
    if model not in (TINY, SCRATCH) and not is_hub_id(model):
        raise OptionError(
            f"{name}={model}: no such folder; legal values are {TINY}, {SCRATCH}, a hub id such as "
            "facebook/wav2vec2-base, and a folder"
        )
    return model
