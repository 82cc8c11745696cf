"""Rows of the learning curve over few clips, with figures that can be added up by hand."""

from __future__ import annotations

from typing import Any

from tests.workspace.comparison_rows import comparison_row


def few_clip_rows() -> list[dict[str, Any]]:
    """Return the curve's own rows of two seeds at 5, 10 and 100 %: the tiny model's at 100 % are main rows.

    Ten times as many clips are worth 0.3; pretraining is worth 0.3, one place 0.1, the other seed 0.02.
    """
    accuracies = {0.05: 0.4, 0.1: 0.5, 1.0: 0.8}
    speaker = dict(partition="speaker", envoys=4)
    return [
        comparison_row(
            regime,
            accuracy - 0.3 * (model == "scratch") - 0.1 * (regime == "federated") + 0.02 * seed,
            seed,
            model=model,
            share=share,
            clips_seen=round(480 * share),
            **(speaker if regime == "federated" else {}),
        )
        for regime in ("centralised", "federated")
        for model in ("tiny", "scratch")
        for share, accuracy in accuracies.items()
        for seed in (0, 1)
        if (model, share) != ("tiny", 1.0)
    ]
