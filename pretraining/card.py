"""The model card: what a run was made of and what came out of it. What does not change is in card.md."""

from pathlib import Path
from string import Template

from transformers import Wav2Vec2Model

from pretraining.checkpoint import CARD, WEIGHTS
from pretraining.corpus import PRETRAINING_VARIANTS, SpokenCorpus
from pretraining.training import CurvePoint, Plan

TEMPLATE = Path(__file__).with_name("card.md")


def write_card(
    folder: Path, plan: Plan, corpus: SpokenCorpus, curve: list[CurvePoint], digest: str, model: Wav2Vec2Model
) -> None:
    """Fill in the template and write it next to the weights."""
    values = {
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "megabytes": f"{(folder / WEIGHTS).stat().st_size / 1e6:.1f}",
        "digest": digest,
        "seed": str(plan.seed),
        "clips": f"{plan.clips:,}",
        "words": f"{corpus.n_words:,}",
        "phrases": f"{corpus.n_phrases:,}",
        "hours": f"{len(corpus.samples) / 16_000 / 3600:.1f}",
        "variants": str(len(PRETRAINING_VARIANTS)),
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
