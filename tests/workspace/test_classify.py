"""The command line names the word in a file, and says in one line what is wrong with one."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from superb_ks.classify import main, read_wav
from superb_ks.model import ModelSpec
from superb_ks.settings import SUPERB_LABELS


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    spec = ModelSpec("scratch", SUPERB_LABELS, seed=1)
    spec.build().save_pretrained(folder)
    spec.feature_extractor().save_pretrained(folder)
    return folder


def tone(rate: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.float32)


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
    ],
)
def test_a_bad_file_is_named_in_one_line(saved_model: Path, tmp_path: Path, capsys, content, complaint):
    path = tmp_path / "bad.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        soundfile.write(path, np.zeros(0 if content == "empty" else 100, np.float32), 16_000)
    assert main([str(saved_model), str(path)]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1 and complaint in output.err and str(path) in output.err


def test_a_folder_without_a_model_is_named(tmp_path: Path, capsys):
    assert main([str(tmp_path), "any.wav"]) == 1
    assert f"{tmp_path} has no config.json" in capsys.readouterr().err
