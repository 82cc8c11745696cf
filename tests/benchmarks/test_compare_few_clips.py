"""The learning curve over few clips: which clips those are, here and on envoys, and how it is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from benchmarks.compare.few_clips import draw_few_clips, few_clips
from benchmarks.compare.plan import SHARES
from benchmarks.compare.share import drawn, share_of
from benchmarks.compare.tasks import ranked_shard
from superb_ks.collaborator.shard_data import open_shard
from superb_ks.collaborator.tasks import load_tasks
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS
from superb_notebook.task_source import write_tasks
from superb_shard_descriptor import SuperbShardDescriptor
from tests.benchmarks.few_clip_rows import few_clip_rows
from tests.workspace.comparison_rows import small_comparison

COUNTS = (200, 90, 61, 30, 9, 1)
LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
"""Label ids of clips as a skewed shard has them."""


@pytest.mark.parametrize("share", SHARES)
def test_a_share_has_every_class_in_proportion(share: float) -> None:
    indices = drawn(LABELS, share, 0)
    assert len(set(indices.tolist())) == len(indices) == round(share * len(LABELS))
    counts = np.bincount(LABELS[indices], minlength=len(COUNTS))
    assert counts.min() >= 1
    assert np.abs(counts - share * np.array(COUNTS)).max() <= 1


def test_smaller_shares_are_parts_of_larger_ones() -> None:
    chosen = [set(drawn(LABELS, share, 0).tolist()) for share in SHARES]
    assert all(few < more for few, more in zip(chosen, chosen[1:], strict=False))
    assert drawn(LABELS, 1.0, 0).tolist() == list(range(len(LABELS)))


def test_a_share_has_a_clip_of_each_class_even_if_it_is_less_than_that() -> None:
    assert np.unique(LABELS[drawn(LABELS, 0.001, 0)]).tolist() == list(range(len(COUNTS)))


def test_a_share_is_drawn_by_the_runs_seed_alone() -> None:
    one_class = np.zeros(100, np.int64)
    indices = drawn(one_class, 0.25, 0)
    assert indices.tolist() != list(range(25))
    np.random.seed(7)
    assert drawn(one_class, 0.25, 0).tolist() == indices.tolist()
    assert drawn(one_class, 0.25, 1).tolist() != indices.tolist()


def test_an_envoy_draws_the_clips_that_are_drawn_here(small_corpus: Path) -> None:
    test = small_corpus.parent / "speech_commands_test_set_v0.01"
    folders = {"source": "folder", "data_dir": str(small_corpus), "test_dir": str(test)}
    descriptor = SuperbShardDescriptor("2, 2", **folders)
    spec = ModelSpec("scratch", SUPERB_LABELS)
    there = load_tasks(write_tasks([ranked_shard(spec, 0.5, 3)])).open_ranked_shard(descriptor)
    here = open_shard(descriptor, spec.feature_extractor())
    half = share_of(here["train"], 0.5, 3)
    assert 0 < len(half) == len(there["train"]) < len(here["train"])
    for index in range(len(half)):
        (waveform, label), (other, its) = half.clip(index), there["train"].clip(index)
        assert label == its
        assert np.array_equal(waveform, other)
    assert [len(there[split]) for split in ("val", "test")] == [len(here[split]) for split in ("val", "test")]
    assert there["rank"] == 2


def test_the_curve_has_four_lines_with_bars_of_a_standard_deviation() -> None:
    axes = Figure().subplots()
    draw_few_clips(axes, [*small_comparison(), *few_clip_rows()])
    drawn_lines = {
        each.get_label(): each.lines for each in axes.containers if isinstance(each, ErrorbarContainer)
    }
    assert {name: len(line.get_xdata()) for name, (line, _, _) in drawn_lines.items()} == {
        "tiny, centralised": 3,
        "tiny, 4 speaker": 2,
        "scratch, centralised": 3,
        "scratch, 4 speaker": 3,
    }
    line, _, (bars,) = drawn_lines["scratch, centralised"]
    assert line.get_xdata() == pytest.approx([0.05, 0.1, 1.0], rel=0.05)
    assert line.get_ydata() == pytest.approx([0.11, 0.21, 0.51])
    deviation = 0.02 / 2**0.5
    for (low, high), mean in zip(bars.get_segments(), line.get_ydata(), strict=True):
        assert (low[1], high[1]) == pytest.approx((mean - deviation, mean + deviation))
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["5%", "10%", "25%", "50%", "100%"]


def test_without_rows_of_few_clips_there_is_no_curve() -> None:
    assert few_clips(small_comparison()) == {}
