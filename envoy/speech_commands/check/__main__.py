"""Tells whether a corpus can be trusted: counts beside SUPERB's, and everything that is wrong with a clip.

    python -m speech_commands.check DATA_DIR [--test-data DIR|testing_list]
    python -m speech_commands.check --config envoy_config.yaml

The exit code is 0 if there is no problem (notes do not count), 1 if there is one, 2 if the corpus cannot be
read at all.
Relative folders in a configuration are taken from where this is run, as the envoy takes them.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from speech_commands.card import clips_per_class, count_speakers
from speech_commands.check.inspection import NOTES, PROBLEMS, Findings, inspect
from speech_commands.errors import DataError
from speech_commands.reader.folders import SPLITS, read_folders
from speech_commands.reader.labels import LABELS, LISTED, SILENCE
from speech_commands.reader.table import Corpus
from speech_commands.settings import Settings, read_settings
from speech_commands.sources.corpus import find_folders, open_source
from superb_node.yaml_config import read_yaml

EXAMPLES = 3  # places shown for each kind of finding

# Clips per class of the full corpus, in the order of LABELS. The six `_silence_` clips of training are the
# long background recordings.
SUPERB = {
    "train": (1860, 1853, 1843, 1842, 1839, 1852, 1864, 1839, 1885, 1861, 6, 32550),
    "val": (261, 270, 260, 264, 247, 256, 257, 256, 246, 260, 0, 4221),
    "test": (256, 252, 272, 253, 267, 259, 246, 262, 249, 251, 257, 257),
}


def main() -> None:
    """Check the corpus that the command line names."""
    # Whatever the terminal cannot show, such as the name of a folder, is shown as escapes.
    if sys.stdout:  # not closed, as by >&-
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        settings = settings_of(parse_arguments())
        corpus, train_dir = open_whole(settings)
        clips = sum(len(split) for split in corpus.splits.values())
        bar = tqdm(range(clips), desc="checking", unit="clip", disable=None)
        findings = inspect(corpus, train_dir, bar, settings.labels)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{corpus.splits['train'].root}\n{corpus.splits['test'].root}\n")
    print("\n".join(count_table(corpus, settings.labels)), end="\n\n")
    print("\n".join(finding_lines(findings)))
    sys.exit(1 if findings.any_problem else 0)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m speech_commands.check", description="Tell whether a corpus can be trusted."
    )
    parser.add_argument("data_dir", nargs="?", help="folder of the training archive")
    parser.add_argument(
        "--test-data", help=f"folder of the test archive, if not beside data_dir, or {LISTED}"
    )
    parser.add_argument("--config", type=Path, help="settings of an envoy instead: its envoy_config.yaml")
    arguments = parser.parse_args()
    if (arguments.data_dir is None) == (arguments.config is None):
        parser.error("either data_dir or --config is wanted")
    return arguments


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings that the command line names, with clips that are not audio kept for the report."""
    if arguments.config is None:
        given = {"source": "folder", "data_dir": arguments.data_dir, "test_dir": arguments.test_data}
    else:
        given = read_config(arguments.config)
    return read_settings({**given, "on_bad_clip": "skip"})


def read_config(path: Path) -> dict[str, Any]:
    """Return the shard descriptor's parameters in an envoy's configuration.

    Raises:
        DataError: no such file, or not such a configuration.

    """
    try:
        params = dict(read_yaml(path)["shard_descriptor"]["params"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the configuration of an envoy ({error})") from error
    params.pop("rank_worldsize", None)
    return params


def open_whole(settings: Settings) -> tuple[Corpus, Path | None]:
    """Open all shards at once; with the folder of the training archive where there is one."""
    if settings.source == "hub":
        return open_source(settings), None
    train, test = find_folders(settings)
    return read_folders(train, test, settings.labels, settings.seed, "skip"), train


def count_table(corpus: Corpus, labels: tuple[str, ...]) -> Iterator[str]:
    """Yield a table of clips per class and split, beside SUPERB's where the classes are its own."""
    official = SUPERB if labels == LABELS else None
    width = max(map(len, (*labels, "speakers")))
    counts = {split: clips_per_class(corpus.splits[split].table, labels) for split in SPLITS}
    yield row("", width, [(split, official and "SUPERB") for split in SPLITS])
    for number, label in enumerate(labels):
        cells = [(counts[split][label], official and official[split][number]) for split in SPLITS]
        yield row(label, width, cells)
    totals = [(sum(counts[split].values()), official and sum(official[split])) for split in SPLITS]
    yield row("all", width, totals)
    speakers = [(count_speakers(corpus.splits[split].table), official and "") for split in SPLITS]
    yield row("speakers", width, speakers)
    if SILENCE in labels:
        yield f"{SILENCE} in training and validation: one-second crops; SUPERB counts its six recordings"


def row(name: str, width: int, cells: list[tuple[Any, Any]]) -> str:
    """Return a line of the table; cells are pairs of what is there and what SUPERB has, if that is known."""
    columns = [value for pair in cells for value in pair if value is not None]
    return " ".join([f"{name:<{width}}", *(f"{value:>8}" for value in columns)])


def finding_lines(findings: Findings) -> Iterator[str]:
    """Yield a line for each kind of finding, problems first, and some places below it."""
    for title, kinds in (("problem", PROBLEMS), ("note", NOTES)):
        for kind, meaning in kinds.items():
            places = findings.places.get(kind, [])
            if not places:
                continue
            yield f"{title}: {len(places)} x {kind} ({meaning})"
            yield from (f"    {place}" for place in places[:EXAMPLES])
            if len(places) > EXAMPLES:
                yield f"    and {len(places) - EXAMPLES} more"
    if not findings.any_problem:
        yield "no problem found"


if __name__ == "__main__":
    main()
