"""What people's folders hold: Unicode, case, lists of other systems, litter, no speakers, one archive."""

import json
import logging
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_commands.check.inspection import Findings, inspect
from speech_commands.reader.folders import read_folders
from superb_node.errors import DataError
from superb_node.labels import KEYWORDS, LABELS, label_of
from superb_shard_descriptor import SuperbShardDescriptor

Folders = tuple[Path, Path]
WriteWav = Callable[..., Path]

NFC = unicodedata.normalize("NFC", "grün")
NFD = unicodedata.normalize("NFD", "grün")


def card_of(train: Path, rank: str = "1, 1", **settings: object) -> dict:
    return json.loads(SuperbShardDescriptor(rank, "folder", str(train), **settings).dataset_description)


def check(archives: Folders, labels: tuple[str, ...] = LABELS) -> Findings:
    return inspect(read_folders(*archives, labels=labels, on_bad_clip="skip"), archives[0], labels=labels)


def keys(archives: Folders, split: str) -> set[str]:
    return set(read_folders(*archives).splits[split].table.keys.tolist())


# Lists


@pytest.mark.parametrize(
    "written",
    [
        b"./yes/00000001_nohash_0.wav\n",
        b"yes\\00000001_nohash_0.wav\r\n",
        b"\xef\xbb\xbfyes/00000001_nohash_0.wav\n",
        b"  yes/00000001_nohash_0.wav \t\n\n",
        b"/home/anna/speech_commands_v0.01/yes/00000001_nohash_0.wav",
        b"C:\\data\\yes\\00000001_nohash_0.wav",
        b"Yes/00000001_nohash_0.wav",
        "yes/00000001_nohash_0.wav\r\n".encode("utf-16"),
    ],
)
def test_a_line_of_any_system_keeps_its_clip_from_training(archives: Folders, written: bytes) -> None:
    (archives[0] / "testing_list.txt").write_bytes(written)
    assert "yes/00000001_nohash_0.wav" not in keys(archives, "train") | keys(archives, "val")
    assert not check(archives).places


def test_a_list_in_another_unicode_form_names_the_file(archives: Folders, write_wav: WriteWav) -> None:
    write_wav(archives[0] / "bed" / f"{NFD}_nohash_0.wav", seconds=0.2)
    (archives[0] / "testing_list.txt").write_text(f"bed/{NFC}_nohash_0.wav\n", encoding="utf-8")
    assert f"bed/{NFD}_nohash_0.wav" not in keys(archives, "train")


def test_a_list_of_which_no_line_names_a_clip_is_shown(
    archives: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    lines = "00000001_nohash_0.wav\n00000002_nohash_0.wav\n"
    (archives[0] / "testing_list.txt").write_text(lines)
    with caplog.at_level(logging.WARNING):
        card_of(archives[0])
    assert "testing_list.txt excludes nothing from training" in caplog.text
    assert "'00000001_nohash_0.wav'" in caplog.text
    findings = check(archives)
    assert findings.places["list without effect"] == [
        "testing_list.txt: 2 lines, such as '00000001_nohash_0.wav'"
    ]
    assert findings.any_problem


def test_files_that_a_list_names_may_be_missing(archives: Folders, caplog: pytest.LogCaptureFixture) -> None:
    lines = "yes/00000009_nohash_0.wav\nbed/00000002_nohash_0.wav\n"
    (archives[0] / "testing_list.txt").write_text(lines)
    card_of(archives[0])
    assert not caplog.records
    findings = check(archives)
    assert findings.places == {"listed, not there": ["testing_list.txt: yes/00000009_nohash_0.wav"]}
    assert not findings.any_problem


def test_a_validation_list_without_effect_is_named_with_its_first_line(archives: Folders) -> None:
    (archives[0] / "validation_list.txt").write_text("x.wav\ny.wav\n")
    with pytest.raises(DataError, match=r"split 'val' is empty: 2 lines of validation_list.txt .* 'x.wav'"):
        card_of(archives[0])


# Folders


@pytest.mark.parametrize("change", [str.capitalize, str.upper])
def test_folders_match_whatever_their_case(archives: Folders, change: Callable[[str], str]) -> None:
    before = card_of(archives[0])["clips"]
    for root in archives:
        for word in KEYWORDS:
            (root / word).rename(root / change(word))
    (archives[0] / "_background_noise_").rename(archives[0] / "_Background_Noise_")
    assert card_of(archives[0])["clips"] == before
    assert not check(archives).places


def test_two_classes_may_differ_by_case_alone() -> None:
    labels = ("Polish", "polish", "_unknown_")
    assert [label_of(name, labels) for name in ("polish", "Polish", "POLISH")] == [1, 0, 2]


def test_folders_of_which_none_is_a_word_are_named(archives: Folders) -> None:
    for root in archives:
        for number, word in enumerate(KEYWORDS):
            (root / word).rename(root / f"wort{number}")
    with pytest.raises(DataError, match="no clip of a word in split 'val'|no training clip of yes"):
        card_of(archives[0])
    findings = check(archives)
    assert len(findings.places["word without a clip"]) == 10
    assert "other folders there: bed, wort0, wort1" in findings.places["word without a clip"][0]
    assert findings.any_problem


def test_a_misspelt_label_is_named_with_the_folders_that_are_there(archives: Folders) -> None:
    with pytest.raises(DataError, match=r"no training clip of sotp \(other folders there: bed, down, left"):
        card_of(archives[0], labels=["go", "sotp"])


def test_a_missing_word_of_superbs_is_warned_of(archives: Folders, caplog: pytest.LogCaptureFixture) -> None:
    for path in (archives[0] / "stop").iterdir():
        path.unlink()
    assert card_of(archives[0])["clips"]["train"]["stop"] == 0
    assert "no training clip of stop" in caplog.text


@pytest.mark.parametrize(("folder", "label"), [(NFD, NFC), (NFC, NFD), (NFD.capitalize(), NFC)])
def test_labels_and_folders_are_compared_in_one_unicode_form(
    archives: Folders, write_wav: WriteWav, folder: str, label: str
) -> None:
    for root in archives:
        (root / "yes").rename(root / folder)
    validation = archives[0] / "validation_list.txt"
    validation.write_text(validation.read_text().replace("yes/", f"{NFC}/"), encoding="utf-8")
    scenario = {"missing_class": NFD, "label_noise": 0}
    shard = SuperbShardDescriptor("1, 1", "folder", str(archives[0]), labels=[label, "no"])
    assert shard.labels == (NFC, "no")
    card = json.loads(shard.dataset_description)
    assert [card["clips"][split][NFC] for split in ("train", "val", "test")] == [2, 1, 1]
    assert card_of(archives[0], labels=[label, "no"], scenario=scenario)["clips"]["train"] == {
        NFC: 0,
        "no": 2,
    }


def test_envoys_on_two_systems_deal_the_same_clips(tmp_path: Path, write_wav: WriteWav) -> None:
    dealt = []
    for form in (NFC, NFD):
        train, test = tmp_path / form / "train", tmp_path / form / "test"
        for name in ("a", "é", "f", "z", "ü", "c"):
            written = unicodedata.normalize("NFD" if form == NFD else "NFC", name)
            for root in (train, test):
                write_wav(root / form / f"{written}.wav", seconds=0.2)
                write_wav(root / "no" / f"{written}.wav", seconds=0.2)
        (train / "validation_list.txt").write_text(f"{form}/a.wav\nno/a.wav\n", encoding="utf-8")
        shard = SuperbShardDescriptor("1, 2", "folder", str(train), str(test), labels=[form, "no"])
        table = shard.get_dataset("train")._split.table
        dealt.append([unicodedata.normalize("NFC", key) for key in table.keys.tolist()])
    assert dealt[0] == dealt[1]


# Litter


@pytest.mark.parametrize(
    "name",
    [
        *("Thumbs.db", "desktop.ini", ".DS_Store", "._00000001_nohash_0.wav", "~$notes.docx", "clip.wav.tmp"),
        *("clip.wav.part", "clip.wav~", "#clip.wav#", "clip.wav.crdownload", "Icon\r", "THUMBS.DB"),
    ],
)
def test_litter_in_a_class_folder_is_passed_over(archives: Folders, name: str) -> None:
    before = card_of(archives[0])["clips"]
    for root in archives:
        (root / "yes" / name).write_bytes(b"junk")
    assert card_of(archives[0])["clips"] == before
    assert not check(archives).places


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", ".ipynb_checkpoints", ".Trashes", "$RECYCLE.BIN"])
def test_folders_of_litter_are_no_class(archives: Folders, write_wav: WriteWav, name: str) -> None:
    before = card_of(archives[0])["clips"]
    for root in archives:
        write_wav(root / name / "00000001_nohash_0.wav", seconds=0.2)
        (root / name / "junk.wav").write_bytes(b"junk")
        write_wav(root / "yes" / name / "00000001_nohash_0.wav", seconds=0.2)
        (root / "README.md").write_text("free")
    assert card_of(archives[0])["clips"] == before


@pytest.mark.parametrize("name", ["clip.wav", "#1 anna.wav", "notes.txt"])
def test_what_is_no_litter_and_no_audio_is_named(archives: Folders, name: str) -> None:
    (archives[0] / "yes" / name).write_bytes(b"junk")
    with pytest.raises(DataError, match=f"yes/{name}: not a readable audio file"):
        card_of(archives[0])


# Speakers


@pytest.mark.parametrize("where", ["all", "one", "test"])
def test_a_partition_by_speaker_needs_speakers(archives: Folders, where: str) -> None:
    train, test = archives
    root = test if where == "test" else train
    paths = sorted(root.glob("[a-z]*/*.wav"))
    for number, path in enumerate(paths if where == "all" else paths[:1]):
        path.rename(path.with_name(f"anna {number}.wav"))
    (train / "validation_list.txt").write_text(
        "".join(f"{path.parent.name}/{path.name}\n" for path in sorted(train.glob("[a-z]*/*.wav"))[2::3])
    )
    count = len(paths) if where == "all" else 1
    with pytest.raises(DataError) as caught:
        card_of(train, "1, 2", partition="speaker")
    message = str(caught.value)
    assert f"{count} clips name no speaker" in message
    assert "anna 0.wav" in message
    assert message.endswith("legal for these clips: iid, dirichlet, quantity")
    assert len(check(archives).places["no speaker known"]) == count
    assert card_of(train, "1, 2")["partition"] == "iid"
    assert card_of(train, None, partition="speaker")["clips"]["train"]["yes"] == 2


# One archive only


@pytest.fixture
def alone(archives: Folders) -> Path:
    """A training archive with a testing list, and no test archive."""
    train, test = archives
    test.rename(test.with_name("elsewhere"))
    words = (*KEYWORDS, "bed")
    (train / "testing_list.txt").write_text("".join(f"{word}/00000002_nohash_0.wav\n" for word in words))
    return train


def test_the_testing_list_is_the_test_split_where_it_is_asked_for(alone: Path) -> None:
    card = card_of(alone, test_dir="testing_list")
    words = {**dict.fromkeys(KEYWORDS, 1), "_unknown_": 1, "_silence_": 1}
    assert card["clips"] == {split: {label: words[label] for label in LABELS} for split in card["clips"]}


def test_its_silence_is_cut_from_a_stretch_of_its_own(alone: Path) -> None:
    splits = read_folders(alone, None).splits
    ends = {}
    for split, (low, high) in {"train": (0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1)}.items():
        table = splits[split].table
        crops = table.take(table.labels == LABELS.index("_silence_"))
        assert len(crops) == 1
        total = soundfile.info(alone / str(crops.keys[0])).frames
        start, end = int(crops.starts[0]), int(crops.starts[0] + crops.frames[0])
        assert int(low * total) <= start < end <= int(high * total)
        ends[split] = end
    assert (
        read_folders(alone, None).splits["test"].table.starts.tolist() == splits["test"].table.starts.tolist()
    )


def test_without_a_test_archive_the_setting_is_named(alone: Path) -> None:
    with pytest.raises(DataError, match="set test_dir to its folder, or to testing_list"):
        card_of(alone)
    (alone / "testing_list.txt").write_text("")
    with pytest.raises(DataError, match="split 'test' is empty"):
        card_of(alone, test_dir="testing_list")
    (alone / "testing_list.txt").write_text("nine/x.wav\n")
    with pytest.raises(DataError, match="split 'test' is empty: 1 lines of testing_list.txt .* 'nine/x.wav'"):
        card_of(alone, test_dir="testing_list")


def test_the_folder_above_the_archive_is_told_from_it(alone: Path) -> None:
    with pytest.raises(DataError, match=r"validation_list.txt: missing.*speech_commands_v0.01 has one"):
        card_of(alone.parent, test_dir="testing_list")


def test_check_data_takes_the_same_word(alone: Path, envoy_dir: Path) -> None:
    command = [sys.executable, "-m", "speech_commands.check", str(alone), "--test-data", "testing_list"]
    done = subprocess.run(command, cwd=envoy_dir, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("yes ")]
    assert rows == [["yes", "1", "1860", "1", "261", "1", "256"]]


def test_the_real_list_gives_a_test_split(shared_dirs: Folders) -> None:
    corpus = read_folders(shared_dirs[0], None)
    listed = (shared_dirs[0] / "testing_list.txt").read_text().split()
    table = corpus.splits["test"].table
    words = table.keys[table.labels != LABELS.index("_silence_")]
    assert set(words.tolist()) == {line for line in listed if (shared_dirs[0] / line).is_file()}
    assert np.all(table.frames > 0)
