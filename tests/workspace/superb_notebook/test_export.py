"""A run's model as ONNX files: they answer as it does, or they are not there."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import transformers
from rich.console import Console

onnxruntime = pytest.importorskip("onnxruntime", minversion="1.24", reason="ONNX needs Python 3.11")

from superb_ks.model.folder import load_classifier
from superb_ks.model.spec import SHORTEST, ModelSpec
from superb_ks.settings import SUPERB_LABELS, Full, Head, Tuning
from superb_notebook import export as command
from superb_notebook.agreement import FLOAT32, INT8, PYTORCH, Measured, float32_fault, int8_fault
from superb_notebook.clips import ClipFolder
from superb_notebook.export import chosen, export
from superb_notebook.onnx_files import FromWaveform, in_onnxruntime, in_pytorch, write_float32
from tests.workspace.tones import tone

LENGTHS = (SHORTEST, 9_000, 16_000, 52_800)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.02, 0.1, samples).astype(np.float32)


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test archive: six tones in noise, and six times noise alone."""
    root = tmp_path_factory.mktemp("tones")
    for seed in range(6):
        for word, gain in (("yes", 0.4), ("_silence_", 0.0)):
            (root / word).mkdir(exist_ok=True)
            soundfile.write(
                root / word / f"{seed}.wav", 0.1 * noise(16_000, seed) + gain * tone(16_000), 16_000
            )
    return root


@pytest.fixture(scope="module")
def exported(tone_model: Path, tones: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run whose model is exported, and what was printed."""
    run = tmp_path_factory.mktemp("run")
    shutil.copytree(tone_model, run / "model")
    printed = io.StringIO()
    assert export(run, str(tones), Console(file=printed, width=100))
    return run, printed.getvalue()


def test_a_run_gets_two_files_and_a_table(exported: tuple[Path, str]) -> None:
    run, printed = exported
    assert sorted(path.name for path in run.iterdir()) == ["model", "onnx"]
    assert sorted(path.name for path in (run / "onnx").iterdir()) == [FLOAT32, INT8]
    assert "Checked on 12 test clips; one thread, medians" in printed
    rows = [re.findall(r"[\w.]+", line) for line in printed.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == [PYTORCH, FLOAT32, INT8]
    megabytes = {name: os.path.getsize(run / "onnx" / name) / 1e6 for name in (FLOAT32, INT8)}
    assert [float(row[1]) for row in rows[1:]] == [
        pytest.approx(megabytes[name], abs=0.05) for name in megabytes
    ]
    assert megabytes[INT8] < 0.5 * megabytes[FLOAT32]
    assert {row[2] for row in rows} == {"100.0"} and all(float(row[3]) > 0 for row in rows)


@pytest.mark.parametrize("samples", LENGTHS)
def test_the_files_answer_as_the_pipeline_does_at_any_length(
    exported: tuple[Path, str], samples: int
) -> None:
    run, _ = exported
    waveform = noise(samples)
    answers = load_classifier(run / "model")(waveform, top_k=None)
    expected = {answer["label"]: answer["score"] for answer in answers}
    for name, tolerance in ((FLOAT32, 1e-5), (INT8, 0.05)):
        probabilities = in_onnxruntime(run / "onnx" / name)(waveform)
        assert dict(zip(("yes", "_silence_"), probabilities, strict=True)) == pytest.approx(
            expected, abs=tolerance
        )


@pytest.mark.parametrize("name", [FLOAT32, INT8])
def test_a_file_takes_batches_and_names_its_classes(exported: tuple[Path, str], name: str) -> None:
    session = onnxruntime.InferenceSession(exported[0] / "onnx" / name)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == ["yes", "_silence_"] and facts["sampling_rate"] == "16000"
    batch = np.stack([noise(8_000, seed) for seed in range(3)])
    (together,) = session.run(None, {"waveform": batch})
    alone = [session.run(None, {"waveform": waveform[None]})[0][0] for waveform in batch]
    # A batch shares the scale of its activations in int8.
    np.testing.assert_allclose(together, alone, atol=1e-5 if name == FLOAT32 else 0.05)


class Moments(torch.nn.Module):
    """Stands for a model that is sensitive to what most normalise away: its input's mean and deviation."""

    def forward(self, values: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.stack([values.mean(dim=-1), values.std(dim=-1)], dim=-1))


@pytest.mark.parametrize("normalised", [True, False])
def test_feature_extraction_is_part_of_the_network(normalised: bool) -> None:
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalised)
    batch = np.stack([noise(16_000), 0.1 * noise(16_000, 1)])
    features = extractor(list(batch), sampling_rate=16_000, return_tensors="pt")
    expected = torch.softmax(Moments()(features["input_values"]).logits, dim=-1)
    ours = FromWaveform(Moments(), normalised)(torch.from_numpy(batch))
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    others = FromWaveform(Moments(), not normalised)(torch.from_numpy(batch))
    assert torch.abs(others - expected).max() > 0.1


def test_a_file_that_disagrees_is_named_and_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random weights cannot tell noise from noise, so rounding to integers changes their answers."""
    spec = ModelSpec("scratch", SUPERB_LABELS, seed=1)
    spec.build().save_pretrained(tmp_path / "model")
    spec.feature_extractor().save_pretrained(tmp_path / "model")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / INT8).write_bytes(b"of an earlier model")
    capsys.readouterr()
    assert command.main([str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert "Checked on 200 clips of noise (no test clips here; TEST_DATA=FOLDER names some)" in output.out
    no_summary, refused = output.err.splitlines()
    assert no_summary == f"{tmp_path}: no summary.json"
    assert re.fullmatch(
        r"error: model_int8.onnx is not published: \d+ of 200 answers are right, PyTorch's 200; "
        "legal: half a point apart at most",
        refused,
    )
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == [FLOAT32]


def seen(*probabilities: list[float]) -> Measured:
    measured = Measured()
    for row in probabilities:
        measured.classify(lambda _, row=row: np.array(row), np.zeros(1))  # type: ignore[misc]
    return measured


def test_float32_has_the_same_answers_and_close_probabilities() -> None:
    pytorch = seen([0.5001, 0.4999], [0.2, 0.8])
    assert float32_fault({PYTORCH: pytorch, FLOAT32: seen([0.5002, 0.4998], [0.2, 0.8])}) is None
    other = float32_fault({PYTORCH: pytorch, FLOAT32: seen([0.4999, 0.5001], [0.2, 0.8])})
    assert other and other.startswith("1 answers differ")
    far = float32_fault({PYTORCH: pytorch, FLOAT32: seen([0.5001, 0.4999], [0.21, 0.79])})
    assert far and "by up to 0.01;" in far
    assert float32_fault({PYTORCH: pytorch, FLOAT32: seen([float("nan"), 0.4], [0.2, 0.8])})


def test_int8_is_within_half_a_point() -> None:
    labels = np.zeros(400, int)
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    for mistakes, accepted in ((2, True), (3, False)):
        measured = {
            PYTORCH: seen(*[right] * 400),
            INT8: seen(*[right] * (400 - mistakes), *[wrong] * mistakes),
        }
        assert (int8_fault(measured, labels) is None) == accepted


def test_of_a_large_archive_some_clips_are_drawn(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = ClipFolder(tones, ("yes", "_silence_"))
    assert list(chosen(clips)) == list(range(12))
    monkeypatch.setattr(command, "MAX_CLIPS", 5)
    drawn = chosen(clips)
    assert len(set(drawn)) == 5 and list(drawn) == sorted(drawn)


def test_what_cannot_be_exported_is_said_in_one_line(
    tmp_path: Path, tone_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*arguments: str) -> str:
        assert command.main(arguments) == 1
        output = capsys.readouterr()
        assert output.out == "" and output.err.count("\n") == 1
        return output.err

    assert "none is not a folder; legal: a run's folder, such as runs/latest" in said(str(tmp_path / "none"))
    assert f"{tmp_path} has no model/" in said(str(tmp_path))
    (tmp_path / "model").mkdir()
    assert "has no config.json" in said(str(tmp_path))
    shutil.copytree(tone_model, tmp_path / "model", dirs_exist_ok=True)
    shutil.copy(Path(__file__), tmp_path / "summary.json")
    assert command.main([str(tmp_path), "--test-data", str(tmp_path / "nowhere")]) == 1
    assert "nothing of the kind is here; legal: a test archive's folder" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    assert "onnxscript cannot be imported; pip install -r requirements-extra.txt helps" in said(str(tmp_path))


def test_a_file_that_onnxruntime_cannot_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"onnxruntime cannot run odd\.onnx: .*INVALID"):
        in_onnxruntime(tmp_path / "odd.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("tuning", [Full(), Head()], ids=lambda tuning: tuning.name)
@pytest.mark.parametrize("family", ["base", "large", "hubert", "wavlm"])
def test_the_whole_family_can_be_exported(
    request: pytest.FixtureRequest, tmp_path: Path, family: str, tuning: Tuning
) -> None:
    spec = ModelSpec(str(request.getfixturevalue(f"{family}_folder")), SUPERB_LABELS, seed=1, tuning=tuning)
    model, extractor = spec.build(), spec.feature_extractor()
    with torch.no_grad():
        model.classifier.weight.mul_(1_000)  # else all classes are equally likely
    classifier = transformers.pipeline("audio-classification", model=model, feature_extractor=extractor)
    write_float32(classifier, SUPERB_LABELS, tmp_path / FLOAT32)
    for samples in LENGTHS:
        expected = in_pytorch(classifier)(noise(samples))
        assert expected.max() > 0.2
        np.testing.assert_allclose(in_onnxruntime(tmp_path / FLOAT32)(noise(samples)), expected, atol=1e-4)
