"""The reader of a test archive's folder."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_notebook import local_data
from superb_notebook.clips import ClipFolder, players, reachable_clips, score

REAL = Path(__file__).resolve().parents[4] / "shared" / "speech_commands_test_set_v0.01"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    for number, name in enumerate(["yes/b", "yes/a", "_silence_/0", "bed/c", "_unknown_/d"]):
        path = root / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(16_000, number / 10, np.float32), 16_000)
    (root / "_background_noise_").mkdir()
    (root / "_background_noise_" / "long.wav").touch()
    (root / "LICENSE").touch()
    (root / "yes" / ".hidden").touch()
    return root


def test_clips_are_sorted_and_every_other_word_is_unknown(archive: Path) -> None:
    clips = ClipFolder(archive, SUPERB_LABELS)
    names = [f"{path.parent.name}/{path.stem}" for path in clips.paths]
    assert names == ["_silence_/0", "_unknown_/d", "bed/c", "yes/a", "yes/b"]
    assert [SUPERB_LABELS[label] for label in clips.labels] == [
        "_silence_",
        "_unknown_",
        "_unknown_",
        "yes",
        "yes",
    ]


def test_item_is_a_waveform_with_its_label(archive: Path) -> None:
    waveform, label = ClipFolder(archive, SUPERB_LABELS)[3]
    assert (waveform.dtype, waveform.shape, label) == (np.float32, (16_000,), 0)
    np.testing.assert_allclose(waveform, 0.1, atol=1e-4)


def test_words_that_are_no_class_are_left_out_where_unknown_is_none(archive: Path) -> None:
    assert [path.parent.name for path in ClipFolder(archive, ("yes", "no")).paths] == ["yes", "yes"]


def test_folder_can_be_evaluated_as_a_shard_is(archive: Path) -> None:
    spec = ModelSpec("scratch", SUPERB_LABELS)
    dataset = ClipDataset(ClipFolder(archive, SUPERB_LABELS), spec.feature_extractor())
    assert evaluate(spec.build(), dataset, "cpu")["clips"] == 5


def test_one_of_each_word_is_drawn_from_the_seed(archive: Path) -> None:
    clips = ClipFolder(archive, SUPERB_LABELS)
    words = ["yes", "go", "_silence_"]
    assert clips.one_of_each(words, seed=3) == clips.one_of_each(words, seed=3)
    assert [SUPERB_LABELS[clips.labels[i]] for i in clips.one_of_each(words)] == ["yes", "_silence_"]
    assert {clips.one_of_each(["yes"], seed)[0] for seed in range(20)} == {3, 4}


def test_no_folder_that_a_card_names_is_opened(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_data, "OWN_CONFIG", Path("/nowhere/at/all"))
    for place in (str(archive), "/proc", ["/proc"], None):
        cards = {"a": {"source": "folder", "data_dir": place, "test_dir": place}}
        clips = reachable_clips(cards, SUPERB_LABELS)
        assert (len(clips), clips.labels.shape, clips.one_of_each(["yes"])) == (0, (0,), [])


def test_the_folder_of_test_data_is_played_and_must_be_there(archive: Path) -> None:
    clips = reachable_clips({}, SUPERB_LABELS, str(archive))
    assert str(clips) == "This notebook plays and scores 5 test clips: those in TEST_DATA"
    for wrong in ("/nowhere/at/all", "testing_list", str(archive / "LICENSE")):
        with pytest.raises(ValueError, match="test_data is '.*legal: a test archive's folder, "):
            reachable_clips({}, SUPERB_LABELS, wrong)


def test_players_hold_the_clips_at_their_own_loudness() -> None:
    quiet = np.full(1_600, 0.01, np.float32)
    page = players([("<yes>", quiet), ("no", quiet)]).data
    assert "<figcaption>&lt;yes&gt;</figcaption>" in page
    sources = re.findall(r'src="data:audio/wav;base64,([^"]+)"', page)
    assert len(sources) == 2
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sources[0])))
    assert rate == 16_000
    np.testing.assert_allclose(samples, 0.01, atol=1e-4)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real recordings next to this repository")
def test_real_archive_has_all_its_clips() -> None:
    clips = ClipFolder(REAL, SUPERB_LABELS)
    assert len(clips) == 384
    assert set(clips.labels.tolist()) == set(range(12))


def test_clips_that_are_none_say_so_and_are_scored_as_none() -> None:
    nothing = ClipFolder(None, SUPERB_LABELS)
    spec = ModelSpec("scratch", SUPERB_LABELS)
    assert not nothing.available and "can read no test clips" in str(nothing)
    assert str(score(spec.build(), nothing, spec.feature_extractor())) == "no clips to score"
