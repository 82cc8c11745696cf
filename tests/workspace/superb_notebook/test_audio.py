"""Envoy, notebook and command line read recordings and name classes alike."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_commands.reader.folders import read_folders
from superb_ks.model.spec import SHORTEST, ModelSpec
from superb_ks.settings import SUPERB_LABELS, Recipe, Settings, tuning_named
from superb_ks.training.data import ClipDataset
from superb_ks.training.local import local_trainer
from superb_notebook.clips import ClipFolder, reachable_clips


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, Path]:
    """Archives with clips of every kind, good and bad."""
    noise = np.random.default_rng(0).uniform(-1.5, 1.5, 16_000)
    train, test = tmp_path / "train", tmp_path / "test"
    for root in (train, test):
        for folder in ("Yes", "NO", "gru\u0308n", "_silence_", "__MACOSX"):
            (root / folder).mkdir(parents=True)
            for number in range(3):
                soundfile.write(root / folder / f"{number}.wav", noise[: 5_000 + 100 * number], 16_000)
    for path, samples, rate, subtype in (
        ("Yes/a.wav", noise[:500], 16_000, "PCM_16"),
        ("Yes/b.wav", noise[:9_000], 44_100, "PCM_24"),
        ("Yes/c.wav", noise[:8_000].reshape(4_000, 2), 8_000, "FLOAT"),
        ("NO/d.flac", noise[:8_000], 16_000, "PCM_16"),
        ("NO/nan.wav", np.full(100, np.nan), 16_000, "FLOAT"),
        ("NO/long.wav", np.zeros(170_000), 16_000, "PCM_16"),
    ):
        soundfile.write(test / path, samples, rate, subtype)
    (test / "Yes" / "Thumbs.db").write_bytes(b"junk")
    (test / "NO" / "broken.wav").write_bytes(b"junk")
    (train / "validation_list.txt").write_text("./yes/0.wav\nno/0.wav\n")
    (train / "testing_list.txt").write_text("yes\\1.wav\r\nno/1.wav\r\ngr\u00fcn/1.wav\r\n", encoding="utf-8")
    return train, test


CLASSES = ("yes", "no", "_unknown_")


@pytest.mark.parametrize("listed", [False, True])
def test_the_notebook_has_the_clips_that_the_envoys_have(archive: tuple[Path, Path], listed: bool) -> None:
    train, test = archive
    from superb_shard_descriptor import SuperbShardDescriptor

    params = {"labels": list(CLASSES), "on_bad_clip": "skip"}
    where = "testing_list" if listed else str(test)
    shard = SuperbShardDescriptor("1, 1", "folder", str(train), where, **params).get_dataset("test")
    clips = reachable_clips({}, CLASSES, str(train / "testing_list.txt" if listed else test))
    theirs = {str(key): shard[row] for row, key in enumerate(shard._split.table.keys)}
    ours = {f"{path.parent.name}/{path.name}": clips[row] for row, path in enumerate(clips.paths)}
    assert len(ours) == (3 if listed else 13)
    assert ours.keys() == theirs.keys()
    for key, (waveform, label) in ours.items():
        assert label == theirs[key][1]
        expected = theirs[key][0]
        assert np.array_equal(waveform[: len(expected)], expected)
        assert len(waveform) == max(len(expected), SHORTEST)
        assert not waveform[len(expected) :].any()


def test_a_list_that_is_no_text_is_named(archive: tuple[Path, Path]) -> None:
    train, _ = archive
    (train / "testing_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="testing_list.txt: not a readable UTF-8 text"):
        reachable_clips({}, CLASSES, str(train / "testing_list.txt"))


def test_a_corpus_and_its_folder_agree(archive: tuple[Path, Path]) -> None:
    corpus = read_folders(*archive, labels=CLASSES, on_bad_clip="skip")
    folder = ClipFolder(archive[1], CLASSES)
    short = corpus.splits["test"].table.frames <= 10 * corpus.splits["test"].table.rates
    assert sorted(corpus.splits["test"].table.labels[short].tolist()) == sorted(folder.labels.tolist())


@pytest.mark.parametrize("tuning", ["full", "head"])
def test_clips_of_any_length_can_be_trained_on_and_scored(tuning: str) -> None:
    draw = np.random.default_rng(0)
    clips = [(draw.normal(0, 0.1, length).astype(np.float32), 0) for length in (1, 100, 400, 800)]
    settings = Settings(tuning=tuning_named(tuning), recipe=Recipe(batch_size=1, epochs_per_round=1))
    spec = ModelSpec.of(settings, SUPERB_LABELS)
    model = spec.build()
    dataset = ClipDataset(clips, spec.feature_extractor())
    assert [len(dataset[index]["input_values"]) for index in range(4)] == [SHORTEST] * 4
    result = local_trainer(model, dataset, settings, "cpu", 0).train()
    assert np.isfinite(result.training_loss)
