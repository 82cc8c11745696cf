"""Synthetic speech: repeatable, speaker-disjoint, made once, in the layout of the real archives."""

import errno
import fcntl
import filecmp
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_commands.reader.cache import cache_root, make_once
from speech_commands.reader.folders import read_folders
from speech_commands.synthetic.corpus import make_corpus, run_workers, write_corpus
from speech_commands.synthetic.script import OTHER_WORDS, Size, write_script
from speech_commands.synthetic.voices import VARIANTS, choose_speakers
from superb_node.errors import DataError
from superb_node.labels import LABELS
from superb_node.shard_card import SPLITS


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_same_seed_same_bytes(spoken: Path, tmp_path: Path, small: Size) -> None:
    write_corpus(tmp_path, seed=0, size=small)
    names = files_below(spoken)
    assert names == files_below(tmp_path)
    assert filecmp.cmpfiles(spoken, tmp_path, names, shallow=False) == (names, [], [])


def test_another_seed_other_speakers_and_bytes(spoken: Path, tmp_path: Path, small: Size) -> None:
    write_corpus(tmp_path, seed=1, size=small)
    wavs = [{name for name in files_below(folder) if "_nohash_" in name} for folder in (spoken, tmp_path)]
    assert len(wavs[0]) == len(wavs[1])
    assert not wavs[0] & wavs[1]


def test_twelve_classes_in_every_split(spoken: Path) -> None:
    corpus = read_folders(spoken / "speech_commands_v0.01", spoken / "speech_commands_test_set_v0.01").splits
    for split in SPLITS:
        counts = np.bincount(corpus[split].table.labels, minlength=len(LABELS))
        assert counts.min() == counts.max() > 0


def test_speakers_are_disjoint(spoken: Path) -> None:
    corpus = read_folders(spoken / "speech_commands_v0.01", spoken / "speech_commands_test_set_v0.01").splits
    speakers = [set(corpus[split].table.speakers) - {""} for split in SPLITS]
    assert [len(names) for names in speakers] == [4, 2, 2]
    assert len(set.union(*speakers)) == 8
    listed = (spoken / "speech_commands_v0.01" / "testing_list.txt").read_text().split()
    assert {Path(path).name[:8] for path in listed} == speakers[2]


def test_there_are_as_many_speakers_as_asked_for() -> None:
    """Those that were there before stay as they are; no two are alike."""
    assert (Size.of(74), Size.of(200)) == (Size(), Size(150, 25, 25))
    for split in SPLITS:
        many = choose_speakers(split, 300, seed=0)
        assert many[: len(VARIANTS[split])] == choose_speakers(split, len(VARIANTS[split]), seed=0)
        assert len({speaker.name for speaker in many}) == 300
        assert len({(each.accent, each.variant, each.pitch) for each in many}) > 270
        assert {speaker.variant for speaker in many} == set(VARIANTS[split])


def test_clips_are_16_khz_mono_16_bit_and_at_most_a_second(spoken: Path) -> None:
    for path in spoken.rglob("*_nohash_*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 0 < info.frames <= 16_000
        samples, _ = soundfile.read(path)
        assert 0.05 < np.abs(samples).max() < 0.9


def test_takes_of_one_word_differ(spoken: Path) -> None:
    paths = sorted((spoken / "speech_commands_v0.01" / "stop").glob("*_nohash_*.wav"))
    contents = {path.read_bytes() for path in paths}
    assert len(contents) == len(paths) >= 10


def test_full_script_has_the_promised_variety() -> None:
    script = write_script(seed=0, size=Size())
    assert len({line.speaker.name for line in script}) >= 60
    assert len({line.speaker.accent for line in script}) == 8
    assert len({line.path for line in script}) == len(script)
    for split in SPLITS:
        words = {line.word for line in script if line.speaker.split == split}
        assert words >= set(OTHER_WORDS)
    assert len(OTHER_WORDS) >= 20


def test_full_size_is_trained_on_in_seconds() -> None:
    script = write_script(seed=0, size=Size())
    train = [line for line in script if line.speaker.split == "train"]
    test = [line for line in script if line.speaker.split == "test" and line.listed is None]
    assert (len(train), len(test) + Size().test_silences) == (2112, 504)


def test_no_voice_variant_speaks_in_two_splits() -> None:
    variants = [variant for split in SPLITS for variant in VARIANTS[split]]
    assert len(variants) == len(set(variants))
    assert [len(VARIANTS[split]) for split in SPLITS] == [48, 12, 14]


def test_full_corpus_can_be_voiced(envoy_dir: Path) -> None:
    """Every voice of the full cast is there in the installed eSpeak NG."""
    program = (
        "from speech_commands.synthetic.espeak import Engine;"
        "from speech_commands.synthetic.script import Size, write_script;"
        "engine = Engine();"
        "voices = {(line.speaker.accent, line.speaker.variant) for line in write_script(0, Size())};"
        "speak = lambda voice: engine.use_voice(*voice) or len(engine.say('left', 130, 50, 50));"
        "lengths = [speak(voice) for voice in sorted(voices)];"
        "assert len(lengths) == 74 and min(lengths) > 2000, lengths"
    )
    subprocess.run([sys.executable, "-c", program], cwd=envoy_dir, check=True)


def test_two_makers_at_once_make_it_once(tmp_path: Path, envoy_dir: Path, small: Size) -> None:
    program = (
        "from speech_commands.synthetic import corpus; from speech_commands.synthetic.script import Size;"
        "real = corpus.write_corpus;"
        "corpus.write_corpus = lambda *a: (print('made', flush=True), real(*a));"
        f"print(corpus.make_corpus(3, {small!r})[0])"
    )
    environment = {**os.environ, "SUPERB_CACHE": str(tmp_path)}
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=envoy_dir, env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [maker.communicate()[0].splitlines() for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0]
    assert sum(lines.count("made") for lines in outputs) == 1
    assert outputs[0][-1] == outputs[1][-1]
    assert (Path(outputs[0][-1]) / "validation_list.txt").is_file()


def test_a_worker_that_fails_is_told_without_the_engines_name(tmp_path: Path) -> None:
    """The voices of pretraining are those of Flite, too."""
    with pytest.raises(DataError, match=r"^a worker that speaks failed; its message is above$"):
        run_workers([[sys.executable, "-c", "raise SystemExit('no voice')"]], 1, tmp_path)


def test_a_crashed_makers_remains_go_and_nothing_half_is_published(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    (tmp_path / "corpus.partial-1").mkdir()
    (tmp_path / "corpus.partial-1" / "half").write_text("")

    def crash(partial: Path) -> None:
        (partial / "some").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(folder, crash)
    assert [path.name for path in tmp_path.iterdir()] == [".corpus.lock"]
    make_once(folder, lambda partial: (partial / "all").touch())
    assert files_below(folder) == ["all"]


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUPERB_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("SUPERB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "superb-federated"


def test_corpus_is_made_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUPERB_CACHE", str(tmp_path))
    train, test = make_corpus(0, Size(1, 1, 1, 1, 1, 1))
    assert train.parent == test.parent
    assert train.parent.parent == tmp_path
    assert (test / "_silence_" / "0.wav").is_file()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_cache_without_locks_is_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    """Stands in for NFS and Lustre, which a test cannot mount."""

    def flock(*_: object) -> None:
        raise OSError(number, "why")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(
        DataError, match=r"cannot lock a file \(why\); set SUPERB_CACHE to a folder on a local disk"
    ):
        make_once(tmp_path / "corpus", lambda _: None)
    assert not (tmp_path / "corpus").exists()
