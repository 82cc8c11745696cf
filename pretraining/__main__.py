"""Speaks, trains and publishes: `python -m pretraining`, or `make pretrain`."""

import argparse
import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from demo.interrupts import Interrupted, raise_interrupted
from pretraining.card import command, write_card
from pretraining.checkpoint import FILES, FOLDER, Publication, can_publish, write_model
from pretraining.corpus import BLOCK, speak_corpus
from pretraining.speaking import PARTS
from pretraining.training import Plan, pretrain
from superb_node.command_line import whole_from
from superb_node.errors import DataError

logger = logging.getLogger(__name__)


FEWEST_CLIPS = 2 * PARTS * BLOCK
"""One block of each synthesiser for each process that speaks."""


def folder_to_publish(text: str) -> Path:
    """Read the option's value as an absolute path, and refuse where nothing may be published."""
    folder = Path(os.path.realpath(text))
    if not can_publish(folder):
        raise argparse.ArgumentTypeError(
            f"{text!r}; legal: a new folder, where one can be made, or an older model's, which has "
            f"{', '.join(sorted(FILES))} and nothing else"
        )
    return folder


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m pretraining", description=__doc__)
    plan = Plan()
    parser.add_argument(
        "--seed", type=whole_from(0), default=plan.seed, help="of everything (default %(default)s)"
    )
    parser.add_argument(
        "--clips", type=whole_from(FEWEST_CLIPS), default=plan.clips, help="to speak (default %(default)s)"
    )
    parser.add_argument(
        "--steps", type=whole_from(1), default=plan.steps, help="of the optimizer (default %(default)s)"
    )
    parser.add_argument(
        "--folder",
        type=folder_to_publish,
        default=str(FOLDER),  # text, so that it is looked at as well
        help="to publish: a new one, or an older model's (default: the one that ships)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Pretrain as the command line says; returns 0, 1 if a synthesiser fails, 130 for Ctrl-C."""
    chosen = options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        with raise_interrupted():  # the workers end with it
            make_model(chosen)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print("interrupted; nothing is published", file=sys.stderr)
        return interrupted.exit_code
    return 0


def make_model(chosen: argparse.Namespace) -> None:
    """Speak, train, publish and print the digest.

    Raises:
        DataError: a synthesiser is missing or fails.

    """
    torch.use_deterministic_algorithms(True)
    plan = replace(Plan(), seed=chosen.seed, clips=chosen.clips, steps=chosen.steps)
    begin = time.monotonic()
    corpus = speak_corpus(plan.clips, plan.invented, plan.phrases, plan.seed)
    spoken = time.monotonic() - begin
    logger.info(
        "%d clips, %d phonemes, %d pairs in %.0f s", len(corpus), len(corpus.names), corpus.n_pairs, spoken
    )
    model, curve = pretrain(corpus, plan)
    with Publication(chosen.folder) as folder:
        digest = write_model(model, folder)
        write_card(folder, plan, corpus, curve, digest, model, command(plan, chosen.folder))
    logger.info("%s in %.0f s, SHA-256 %s", chosen.folder, time.monotonic() - begin, digest)


if __name__ == "__main__":
    sys.exit(main())
