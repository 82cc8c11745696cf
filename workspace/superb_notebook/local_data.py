"""The owners' clips, where they are this machine's: to listen, to score, and to train without a federation.

Where they are, the person's own `envoy_config.yaml` says, never an envoy's card.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import Wav2Vec2FeatureExtractor

from superb_ks.collaborator.shard_data import open_shard
from superb_ks.training.data import SPLITS, ClipDataset
from superb_node.envoy.config import EnvoyConfig
from superb_node.errors import ConfigError, DataError
from superb_node.labels import LISTED

ENVOY = Path(__file__).resolve().parents[2] / "envoy"
"""The folder with the owners' shard descriptor, which a notebook's machine need not have."""

OWN_CONFIG = ENVOY / "envoy_config.yaml"
"""Where the clips of this machine are, unless a notebook's user names another one."""

Cards = Mapping[str, Mapping[str, Any]]
Shard = dict[str, ClipDataset]


class Folders(NamedTuple):
    """Where clips are.

    Attributes:
        source: what the config calls them, such as "synthetic".
        train: the training archive's folder.
        test: the test archive's; None: the testing list of the training archive names the test clips.
    """

    source: str
    train: Path
    test: Path | None


class LocalData:
    """All clips of a federation, which no data scientist has unless everything runs on one machine.

    Args:
        folders: of the clips; None: they are out of reach.
        labels: class names in the order of their numbers.
    """

    def __init__(self, folders: Folders | None, labels: Sequence[str]) -> None:
        self._folders = folders
        self._labels = list(labels)

    @property
    def available(self) -> bool:
        """Whether the clips can be read."""
        return self._folders is not None

    def __str__(self) -> str:
        if self._folders is not None:
            return f"This notebook can read the owners' clips ({self._folders.source})"
        return "This notebook cannot read the owners' clips, as it should be: what needs them is left out"

    def pooled(self, extractor: Wav2Vec2FeatureExtractor) -> Shard:
        """Return all clips as one shard; its splits are empty where no clips can be read."""
        nothing: Shard = {split: ClipDataset([], extractor) for split in SPLITS}
        return next(iter(self.shards(extractor)), nothing)

    def shards(self, extractor: Wav2Vec2FeatureExtractor, count: int = 1) -> list[Shard]:
        """Divide all clips evenly, as the envoys' shard descriptor does for `partition: iid`.

        Args:
            extractor: the model's feature extractor.
            count: number of shards; 1 pools everything.

        Returns:
            `{"train": …, "val": …, "test": …}` for each shard; nothing where no clips can be read.
        """
        if self._folders is None:
            return []
        descriptor = of_the_envoy("superb_shard_descriptor").SuperbShardDescriptor
        of_rank = descriptor.of_all_ranks(
            count,
            source="folder",
            partition="iid",
            labels=self._labels,
            data_dir=str(self._folders.train),
            test_dir=LISTED if self._folders.test is None else str(self._folders.test),
        )
        return [open_shard(of_rank(rank), extractor) for rank in range(1, count + 1)]


def reachable_data(cards: Cards, config: str) -> LocalData:
    """Return the clips of a federation on this machine, or none, which is the normal answer.

    Args:
        cards: the shard cards.
        config: an `envoy_config.yaml` of yours; it says where the clips are.
    """
    return LocalData(own_folders(cards, Path(config)), next(iter(cards.values()))["labels"])


def own_folders(cards: Cards, config: Path) -> Folders | None:
    """Return the folders of clips that your own envoy reads; synthetic speech is made if need be.

    Returns:
        None where the clips cannot be read here; and where cards name another source than your config, so
        that yours are not those of the federation.
    """
    try:
        own = EnvoyConfig.load(config)
        ours = own.descriptor.startswith("superb_shard_descriptor.")
        if not ours or not (ENVOY / "speech_commands").is_dir():
            return None
        settings = of_the_envoy("speech_commands.settings").read_settings(_seen_from_here(own, config))
        if settings.source == "hub" or {card["source"] for card in cards.values()} != {settings.source}:
            return None
        train, test = of_the_envoy("speech_commands.sources.corpus").find_folders(settings)
        return Folders(settings.source, train, test)
    except (ConfigError, DataError):
        return None


def _seen_from_here(own: EnvoyConfig, config: Path) -> dict[str, Any]:
    """Return the descriptor's settings, folders as seen from the config's own folder."""
    params = {name: value for name, value in own.descriptor_params.items() if name != "rank_worldsize"}
    for name in ("data_dir", "test_dir"):
        if params.get(name) not in (None, LISTED):
            params[name] = str(config.resolve().parent / Path(params[name]).expanduser())
    return params


def of_the_envoy(module: str) -> Any:
    """Import a module of the owners' code, which is no part of the notebook's packages."""
    if str(ENVOY) not in sys.path:
        sys.path.append(str(ENVOY))
    return importlib.import_module(module)
