"""Opens the clips of one shard, as the settings say."""

from dataclasses import dataclass

import numpy as np

from speech_commands.degradation import degrade
from speech_commands.partition import partition
from speech_commands.reader.table import Corpus, Split, bad_clips_error
from speech_commands.settings import PARTITION_KINDS, Settings
from speech_commands.sources.corpus import open_corpus
from superb_node.audio import MAX_CLIP_SECONDS
from superb_node.errors import DataError
from superb_node.labels import SILENCE


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


def open_shard(settings: Settings, rank: int, world_size: int) -> Shard:
    """Index shard `rank` (from 1) of `world_size`.

    Raises:
        DataError: the source cannot be read, or the shard gets too few clips of a split.
    """
    corpus = open_corpus(settings)
    if settings.partition == "speaker" and world_size > 1:
        require_speakers(corpus, settings)
    splits = select_shard(corpus, settings, rank, world_size)
    problems = list(corpus.problems)
    for name, split in splits.items():
        measured, bad = split.measured()
        splits[name], long = drop_long_clips(measured)
        problems += bad + long
    if problems and settings.on_bad_clip == "error":
        raise bad_clips_error(problems)
    splits = degrade(splits, corpus, settings.scenario, settings.labels, settings.seed)
    for name, split in splits.items():
        if not len(split):
            raise DataError(f"shard {rank} of {world_size}: split {name!r} has no clip left")
    return Shard(splits, len(problems))


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
        others = ", ".join(kind for kind in PARTITION_KINDS if kind != "speaker")
        raise DataError(
            f"partition is 'speaker', but {len(places)} clips name no speaker (0a7c2a8d_nohash_0.wav does), "
            f"such as {places[0]}; legal for these clips: {others}"
        )


def clips_without_speaker(split: Split, labels: tuple[str, ...]) -> list[str]:
    """Return the clips of words whose speaker is not known. Silence has no speaker."""
    silence = labels.index(SILENCE) if SILENCE in labels else -1
    rows = (split.table.speakers == "") & (split.table.labels != silence)
    return [split.name(key) for key in split.table.keys[rows].tolist()]


def select_shard(corpus: Corpus, settings: Settings, rank: int, world_size: int) -> dict[str, Split]:
    """Return the clips that the partition gives to shard `rank`."""
    owners = partition({name: split.table for name, split in corpus.splits.items()}, world_size, settings)
    shard = {
        name: split.take(np.flatnonzero(owners[name] == rank - 1)) for name, split in corpus.splits.items()
    }
    for name, split in shard.items():
        if len(split) < settings.min_shard:
            raise DataError(
                f"shard {rank} of {world_size} gets {len(split) or 'no'} clips of split {name!r}, which has "
                f"{len(corpus.splits[name])}, by partition {settings.partition!r}; at least "
                f"{settings.min_shard} (min_shard) are needed: use fewer envoys or more data"
            )
    return shard
