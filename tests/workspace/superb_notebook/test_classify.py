"""The command line names the word in a recording, and says in one line what is wrong with a file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from superb_ks.model.spec import SHORTEST, ModelSpec
from superb_ks.settings import SUPERB_LABELS
from superb_notebook.classify import clearest, main, read_wav, window_starts
from tests.workspace.tones import tone


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    spec = ModelSpec("scratch", SUPERB_LABELS, seed=1)
    spec.build().save_pretrained(folder)
    spec.feature_extractor().save_pretrained(folder)
    return folder


def test_stereo_at_another_rate_becomes_mono_at_16_khz(tmp_path: Path):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([tone(44_100), np.zeros(44_100, np.float32)], axis=1), 44_100, "FLOAT")
    waveform = read_wav(path)
    assert waveform.shape == (16_000,) and waveform.dtype == np.float32
    np.testing.assert_allclose(waveform[200:-200], 0.5 * tone(16_000)[200:-200], atol=1e-3)


def test_the_likeliest_labels_are_printed_for_each_file(saved_model: Path, tmp_path: Path, capsys):
    paths = [tmp_path / "one.wav", tmp_path / "two.flac"]
    for path in paths:
        soundfile.write(path, tone(16_000), 16_000)
    assert main([str(saved_model), *map(str, paths), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == list(map(str, paths))
    answers = [answer.split() for answer in lines[0].split(": ")[1].split(", ")]
    assert len(answers) == 2 and {label for label, _ in answers} < set(SUPERB_LABELS)
    first, second = (float(score.rstrip("%")) for _, score in answers)
    assert 100 >= first >= second > 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such file"),
        (b"not a sound", "not a readable audio file"),
        ("empty", "without a single sample"),
        ("not finite", "not finite"),
    ],
)
def test_a_bad_file_is_named_in_one_line(saved_model: Path, tmp_path: Path, capsys, content, complaint):
    path = tmp_path / "bad.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        samples = np.full(0 if content == "empty" else 100, np.nan, np.float32)
        soundfile.write(path, samples, 16_000, "FLOAT")
    assert main([str(saved_model), str(path)]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1 and complaint in output.err and str(path) in output.err


def test_a_folder_without_a_model_is_named(tmp_path: Path, capsys):
    assert main([str(tmp_path), "any.wav"]) == 1
    assert f"{tmp_path} has no config.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.raw", "x.RAW", "x.txt", "x", "folder"])
def test_what_is_no_audio_file_is_named_in_one_line(saved_model: Path, tmp_path: Path, capsys, name: str):
    path = tmp_path / name
    path.mkdir() if name == "folder" else path.write_bytes(b"\0\1" * 8_000)
    assert main([str(saved_model), str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and str(path) in error


@pytest.mark.parametrize("samples", [1, 400, 800])
def test_a_short_recording_is_given_to_the_model_with_zeros_behind_it(
    saved_model: Path, tmp_path: Path, capsys, samples: int
):
    path = tmp_path / "short.wav"
    soundfile.write(path, tone(16_000)[:samples], 16_000)
    assert read_wav(path).shape == (SHORTEST,)
    assert main([str(saved_model), str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: ")


def test_windows_reach_to_the_end():
    assert window_starts(0) == window_starts(16_000) == [0]
    assert window_starts(16_001) == [0, 1]
    assert window_starts(30_000) == [0, 4_000, 8_000, 12_000, 14_000]


def test_a_word_goes_before_silence_and_unknown_however_sure_they_are():
    def heard(label: str, score: float) -> list[dict]:
        return [{"label": label, "score": score}]

    answers = [heard("_silence_", 0.99), heard("yes", 0.6), heard("no", 0.7), heard("_unknown_", 0.9)]
    assert clearest(answers) == 2
    assert clearest([answers[3], answers[0]]) == 1


@pytest.mark.parametrize("at", [0.0, 2.0, 4.0])
def test_the_word_in_a_long_recording_is_found_with_its_time(
    tone_model: Path, tmp_path: Path, capsys, at: float
):
    path = tmp_path / "long.wav"
    samples = 0.01 * np.random.default_rng(1).standard_normal(5 * 16_000)
    start = round(at * 16_000)
    samples[start : start + 16_000] += tone(16_000)
    soundfile.write(path, samples, 16_000)
    assert main([str(tone_model), str(path)]) == 0
    where, answer = capsys.readouterr().out.strip().rsplit(": ", 1)
    assert answer.startswith("yes ")
    begins, ends = (float(text.rstrip("s ")) for text in where.removeprefix(f"{path}, ").split(" to "))
    assert begins == ends - 1
    assert abs(begins - at) <= 0.75


def test_a_long_recording_without_a_word_is_silence(tone_model: Path, tmp_path: Path, capsys):
    path = tmp_path / "quiet.wav"
    soundfile.write(path, 0.01 * np.random.default_rng(2).standard_normal(3 * 16_000), 16_000)
    assert main([str(tone_model), str(path)]) == 0
    assert ": _silence_ " in capsys.readouterr().out


def test_no_label_cannot_be_asked_for(saved_model: Path, capsys):
    with pytest.raises(SystemExit):
        main([str(saved_model), "any.wav", "--top", "0"])
    assert "argument --top: is 0; legal: 1 and more" in capsys.readouterr().err
