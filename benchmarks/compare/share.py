"""A share of a shard's training clips, for the learning curve over few clips."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Subset

from superb_ks.training.data import ClipDataset


def share_of(dataset: ClipDataset, share: float, seed: int) -> ClipDataset:
    """Return the same with `drawn` clips alone; its clips are a split of the shard descriptor's.

    This function travels to the envoys, and `drawn` with it, as source.
    """
    clips: Any = dataset.clips
    return ClipDataset(Subset(clips, drawn(clips.labels, share, seed).tolist()), dataset.extractor)


def drawn(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Draw a share of clips, of each class in proportion and at least one.

    The clips have one order for a seed, whatever the share, and a share is its beginning: a smaller one is a
    part of a larger one.

    Args:
        labels: label id of each clip, shape [n].
        share: how much of the clips to take, in (0, 1].
        seed: of the run, so that the spread over seeds has the luck of the draw in it.

    Returns:
        Their indices, ascending.
    """
    draw = np.random.default_rng(seed)
    classes = np.unique(labels)
    place = np.empty(len(labels))
    for label in classes:
        own = draw.permutation(np.flatnonzero(labels == label))
        # Spread evenly over the order, so that each beginning has every class in proportion.
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
        place[own[0]] = 0.0  # one of each class comes first
    count = max(len(classes), round(share * len(labels)))
    return np.sort(np.argsort(place, kind="stable")[:count])
