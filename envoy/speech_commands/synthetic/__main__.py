"""Makes the synthetic corpus of a seed if it is not in the cache, and prints its folder."""

import argparse
import logging
import sys

from speech_commands.settings import read_settings
from speech_commands.synthetic.corpus import make_corpus
from speech_commands.synthetic.script import Size
from superb_node.command_line import set_up_output
from superb_node.errors import DataError
from superb_node.labels import FEWEST_SPEAKERS


def main() -> None:
    """Make the corpus of the command line's seed and print its folder."""
    set_up_output()
    parser = argparse.ArgumentParser(prog="python -m speech_commands.synthetic", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of voices, takes and noise (default 0)")
    parser.add_argument("--speakers", type=int, default=FEWEST_SPEAKERS, help="%(default)s (default) or more")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        settings = read_settings({"seed": given.seed, "speakers": given.speakers})
        print(make_corpus(settings.seed, Size.of(settings.speakers))[0].parent)
    except DataError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
