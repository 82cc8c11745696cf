"""Checks a corpus: clips per class next to SUPERB's, and everything that is wrong with a clip.

    python -m speech_commands.check DATA_DIR [--test-data DIR|testing_list]
    python -m speech_commands.check --config envoy_config.yaml

The exit code is 0 if there is no problem (notes do not count), 1 if there is one, 2 if the corpus cannot be
read at all. Relative folders in a configuration start from the working directory, as for the envoy.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from speech_commands.check.inspection import inspect
from speech_commands.check.report import count_table, finding_lines
from speech_commands.reader.folders import read_folders
from speech_commands.reader.table import Corpus
from speech_commands.settings import Settings, read_settings
from speech_commands.sources.corpus import find_folders, open_corpus
from superb_node.command_line import set_up_output
from superb_node.errors import DataError
from superb_node.labels import LISTED
from superb_node.text import safe_line
from superb_node.yaml_config import read_yaml


def main() -> None:
    """Check the corpus that the command line names."""
    set_up_output()
    try:
        settings = settings_of(parse_arguments())
        corpus, train_dir = open_whole(settings)
        clips = sum(len(split) for split in corpus.splits.values())
        with tqdm(total=clips, desc="checking", unit="clip", disable=None) as bar:
            findings = inspect(corpus, train_dir, bar.update, settings.labels)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(*(safe_line(corpus.splits[split].root) for split in ("train", "test")), sep="\n", end="\n\n")
    print("\n".join(count_table(corpus, settings.labels)), end="\n\n")
    print("\n".join(finding_lines(findings)))
    sys.exit(1 if findings.any_problem else 0)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m speech_commands.check", description="Check a corpus.")
    parser.add_argument("data_dir", nargs="?", help="folder of the training archive")
    parser.add_argument(
        "--test-data", help=f"folder of the test archive, if not next to data_dir, or {LISTED}"
    )
    parser.add_argument("--config", type=Path, help="settings of an envoy instead: its envoy_config.yaml")
    arguments = parser.parse_args()
    if (arguments.data_dir is None) == (arguments.config is None):
        parser.error("give either data_dir or --config")
    return arguments


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings of the command line; clips that are not audio are left to the report."""
    if arguments.config is None:
        given = {"source": "folder", "data_dir": arguments.data_dir, "test_dir": arguments.test_data}
    else:
        given = read_config(arguments.config)
    return read_settings({**given, "on_bad_clip": "skip"})


def read_config(path: Path) -> dict[str, Any]:
    """Return the shard descriptor's parameters from an envoy's configuration.

    Raises:
        DataError: there is no such file, or it is not such a configuration.
    """
    try:
        params = dict(read_yaml(path)["shard_descriptor"]["params"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the configuration of an envoy ({error})") from error
    params.pop("rank_worldsize", None)
    return params


def open_whole(settings: Settings) -> tuple[Corpus, Path | None]:
    """Open the corpus of all shards; also return the folder of its training archive, if it has one."""
    if settings.source == "hub":
        return open_corpus(settings), None
    train, test = find_folders(settings)
    return read_folders(train, test, settings.labels, settings.seed, "skip"), train


if __name__ == "__main__":
    main()
