"""The model card: what a run was made of and what came out of it. What does not change is in card.md."""

import shlex
from importlib.metadata import version
from pathlib import Path
from string import Template

from transformers import Wav2Vec2Model

from pretraining import flite
from pretraining.checkpoint import CARD, FOLDER, WEIGHTS
from pretraining.corpus import PRETRAINING_VARIANTS, SpokenCorpus
from pretraining.training import CurvePoint, Plan

TEMPLATE = Path(__file__).with_name("card.md")


def command(plan: Plan, folder: Path) -> str:
    """Return what makes the model again: with the options that are not the defaults, if there are any.

    Of the folder it has the name alone: the rest of the path is this machine's.
    """
    given = {name: getattr(plan, name) for name in ("seed", "clips", "steps")}
    options = [f"--{name}={value}" for name, value in given.items() if value != getattr(Plan(), name)]
    if folder != FOLDER:
        options.append(f"--folder={folder.name}")
    return shlex.join(["python", "-m", "pretraining", *options]) if options else "make pretrain"


def write_card(
    folder: Path,
    plan: Plan,
    corpus: SpokenCorpus,
    curve: list[CurvePoint],
    digest: str,
    model: Wav2Vec2Model,
    made_by: str,
) -> None:
    """Fill in the template and write it next to the weights."""
    values = {
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "megabytes": f"{(folder / WEIGHTS).stat().st_size / 1e6:.1f}",
        "digest": digest,
        "spoken_by": f"espeakng-loader {version('espeakng-loader')}, {flite.version()}",
        "seed": str(plan.seed),
        "command": made_by,
        "clips": f"{plan.clips:,}",
        "words": f"{corpus.n_words:,}",
        "phrases": f"{corpus.n_phrases:,}",
        "hours": f"{len(corpus.samples) / 16_000 / 3600:.1f}",
        "variants": str(len(PRETRAINING_VARIANTS)),
        "voices": str(len(flite.VOICES)),
        "phonemes": str(len(corpus.names)),
        "pairs": str(corpus.n_pairs),
        "steps": f"{plan.steps:,}",
        "batch_size": str(plan.batch_size),
        "learning_rate": f"{plan.learning_rate:g}",
        "pair_weight": f"{plan.pair_weight:g}",
        "curve": "\n".join(
            f"| {point.step:,} | {point.phoneme_loss:.3f} | {point.pair_loss:.3f} | {point.right:.1%} |"
            for point in curve
        ),
    }
    (folder / CARD).write_text(
        Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values), encoding="utf-8"
    )
