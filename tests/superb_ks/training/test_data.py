"""Clips become a model's input; short and long ones as its family wants them."""

import numpy as np
import pytest
import torch

from superb_ks.collaborator.shard_data import open_shard
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS
from superb_ks.training import data
from superb_ks.training.augmentation import Augmentation
from superb_ks.training.data import ClipDataset

SCRATCH = ModelSpec("scratch", SUPERB_LABELS)


class Shard:
    """A shard descriptor that counts how often its splits are opened."""

    def __init__(self, splits):
        self.splits = splits
        self.opened = []

    def get_dataset(self, dataset_type):
        self.opened.append(dataset_type)
        return self.splits[dataset_type]


def test_an_item_is_the_normalised_waveform_and_its_label(tone_clips):
    clips = tone_clips([16_000, 9_000])
    item = ClipDataset(clips, SCRATCH.feature_extractor())[1]
    waveform, label = clips[1]
    assert item["labels"] == label == 1
    assert item["input_values"].dtype == np.float32
    expected = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
    np.testing.assert_allclose(item["input_values"], expected, atol=1e-5)


def test_a_batch_is_padded_with_zeros_and_has_a_mask_only_where_the_family_wants_one(
    tone_clips, large_folder
):
    large = ModelSpec(str(large_folder), SUPERB_LABELS)
    for spec, wants_mask in ((SCRATCH, False), (large, True)):
        dataset = ClipDataset(tone_clips([6_000, 4_000]), spec.feature_extractor())
        batch = dataset.collate([dataset[0], dataset[1]])
        assert batch["input_values"].shape == (2, 6_000)
        assert batch["input_values"].dtype == torch.float32
        assert not batch["input_values"][1, 4_000:].any()
        assert batch["labels"].tolist() == [0, 1]
        assert ("attention_mask" in batch) == wants_mask
        if wants_mask:
            assert batch["attention_mask"].sum(dim=1).tolist() == [6_000, 4_000]


def test_batches_of_one_length_hold_every_clip_once(tone_clips, monkeypatch: pytest.MonkeyPatch):
    """Full ones in the order of their last clips, then the rest in the order in which lengths came up."""
    monkeypatch.setattr(data, "BATCH_SIZE", 2)
    dataset = ClipDataset(
        tone_clips([1_900, 1_700, 1_900, 1_600, 1_900, 1_700, 1_800]), SCRATCH.feature_extractor()
    )
    batches = list(dataset.equal_length_batches())
    assert [indices for indices, _ in batches] == [[0, 2], [1, 5], [4], [3], [6]]
    for indices, batch in batches:
        items = [dataset[index] for index in indices]
        assert batch["labels"].tolist() == [item["labels"] for item in items]
        assert np.array_equal(batch["input_values"], [item["input_values"] for item in items])


def test_long_clips_are_cropped_for_training_alone_and_repeatably(tone_clips):
    whole = ClipDataset(tone_clips([40_000, 16_000, 5_000]), SCRATCH.feature_extractor())
    lengths = [len(whole[i]["input_values"]) for i in range(3)]
    assert lengths == [40_000, 16_000, 5_000]

    def crops(seed):
        training = whole.for_training(Augmentation(seed))
        return [training[i]["input_values"] for i in (0, 0, 1, 2)]

    first, again, other = crops(1), crops(1), crops(2)
    assert [len(crop) for crop in first] == [16_000, 16_000, 16_000, 5_000]
    assert not np.array_equal(first[0], first[1])
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_a_crop_is_a_stretch_of_the_clip():
    ramp = np.linspace(-1, 1, 20_000, dtype=np.float32)
    extractor = SCRATCH.feature_extractor()
    extractor.do_normalize = False
    crop = ClipDataset([(ramp, 0)], extractor, Augmentation(3))[0]["input_values"]
    start = int(np.flatnonzero(ramp == crop[0])[0])
    assert np.array_equal(crop, ramp[start : start + 16_000])


def test_a_shard_offers_its_three_splits_and_their_sizes(tone_clips):
    shard = Shard(
        {"train": tone_clips([900] * 5), "val": tone_clips([900] * 3), "test": tone_clips([900] * 2)}
    )
    sizes = {split: len(clips) for split, clips in open_shard(shard, SCRATCH.feature_extractor()).items()}
    assert sizes == {"train": 5, "val": 3, "test": 2}
    assert shard.opened == ["train", "val", "test"]


def test_an_error_of_a_clip_reaches_the_caller():
    class Broken:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise ValueError("clip 0 is not audio")

    with pytest.raises(ValueError, match="clip 0 is not audio"):
        ClipDataset(Broken(), SCRATCH.feature_extractor())[0]
