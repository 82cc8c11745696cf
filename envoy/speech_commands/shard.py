"""Opens the clips of one shard, as the settings say."""

from dataclasses import dataclass

import numpy as np

from speech_commands.degradation import degrade
from speech_commands.partition import partition
from speech_commands.reader.table import Corpus, Split, bad_clips_error
from speech_commands.settings import Settings
from speech_commands.sources.corpus import open_corpus
from superb_node.audio import MAX_CLIP_SECONDS
from superb_node.errors import DataError
from superb_node.labels import PARTITIONS, SILENCE


@dataclass(frozen=True, eq=False)
class Shard:
    """The clips of one envoy.

    Attributes:
        splits: "train", "val" and "test".
        skipped: number of clips left out because they are not audio (in the whole corpus; for the hub, in
            this shard) or too long.
    """

    splits: dict[str, Split]
    skipped: int


class Shards:
    """All shards of a corpus, whose index is read, and divided, once.

    Args:
        settings: of the corpus and its partition.
        world_size: number of shards.

    Raises:
        DataError: the source cannot be read.
    """

    def __init__(self, settings: Settings, world_size: int) -> None:
        self._settings, self._world_size = settings, world_size
        self._corpus = open_corpus(settings)
        if settings.partition == "speaker" and world_size > 1:
            require_speakers(self._corpus, settings)
        tables = {name: split.table for name, split in self._corpus.splits.items()}
        self._owners = partition(tables, world_size, settings)

    def open(self, rank: int) -> Shard:
        """Return shard `rank` (from 1).

        Raises:
            DataError: the shard gets too few clips of a split.
        """
        splits = self._select(rank)
        problems = list(self._corpus.problems)
        for name, split in splits.items():
            measured, bad = split.measured()
            splits[name], long = drop_long_clips(measured)
            problems += bad + long
        if problems and self._settings.on_bad_clip == "error":
            raise bad_clips_error(problems)
        labels, scenario = self._settings.labels, self._settings.scenario
        splits = degrade(splits, self._corpus, scenario, labels, self._settings.seed)
        for name, split in splits.items():
            if not len(split) and self._settings.min_shard:
                raise DataError(f"shard {rank} of {self._world_size}: split {name!r} has no clip left")
        return Shard(splits, len(problems))

    def _select(self, rank: int) -> dict[str, Split]:
        """Return the clips that the partition gives to a shard."""
        settings = self._settings
        shard = {
            name: split.take(np.flatnonzero(self._owners[name] == rank - 1))
            for name, split in self._corpus.splits.items()
        }
        for name, split in shard.items():
            if len(split) < settings.min_shard:
                raise DataError(
                    f"shard {rank} of {self._world_size} gets {len(split) or 'no'} clips of split {name!r}, "
                    f"which has {len(self._corpus.splits[name])}, by partition {settings.partition!r}; at "
                    f"least {settings.min_shard} (min_shard) are needed: use fewer envoys or more data"
                )
        if not any(map(len, shard.values())):
            raise DataError(
                f"shard {rank} of {self._world_size} gets no clip by partition {settings.partition!r}: use "
                "fewer envoys or more data"
            )
        return shard


def drop_long_clips(split: Split) -> tuple[Split, list[str]]:
    """Return the split without the clips that are too long for a model, and a line about each of those."""
    table = split.table
    long = table.frames > MAX_CLIP_SECONDS * table.rates
    lines = [
        f"{split.name(key)}: lasts {seconds:.1f} s; a clip may last {MAX_CLIP_SECONDS} s"
        for key, seconds in zip(table.keys[long], (table.frames / table.rates)[long], strict=True)
    ]
    return split.take(~long), lines


def require_speakers(corpus: Corpus, settings: Settings) -> None:
    """Check that the speaker of each word is known, as the partition by speaker requires."""
    splits = corpus.splits.values()
    places = [place for split in splits for place in clips_without_speaker(split, settings.labels)]
    if places:
        others = ", ".join(kind for kind in PARTITIONS if kind != "speaker")
        raise DataError(
            f"partition is 'speaker', but {len(places)} clips name no speaker (0a7c2a8d_nohash_0.wav does), "
            f"such as {places[0]}; legal for these clips: {others}"
        )


def clips_without_speaker(split: Split, labels: tuple[str, ...]) -> list[str]:
    """Return the clips of words whose speaker is not known. Silence has no speaker."""
    silence = labels.index(SILENCE) if SILENCE in labels else -1
    rows = (split.table.speakers == "") & (split.table.labels != silence)
    return [split.name(key) for key in split.table.keys[rows].tolist()]
