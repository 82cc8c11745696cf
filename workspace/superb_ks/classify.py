"""Name the word in WAV files: `python -m superb_ks.classify MODEL_DIR WAV [WAV...]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
import transformers

from superb_ks.model import SAMPLING_RATE


def read_wav(path: Path) -> np.ndarray:
    """Read an audio file as mono float32 at 16 kHz, shape [n_samples].

    Raises:
        ValueError: there is no such file, it is not audio, or it is empty.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"not an audio file: {path} ({error.error_string})") from error
    if len(samples) == 0:
        raise ValueError(f"no samples in {path}")
    waveform = samples.mean(axis=1)
    if rate != SAMPLING_RATE:
        waveform = librosa.resample(waveform, orig_sr=rate, target_sr=SAMPLING_RATE)
    return waveform


def classify(classifier: transformers.AudioClassificationPipeline, path: Path, top: int) -> str:
    """Return one line with a file's likeliest labels and their probabilities.

    Raises:
        ValueError: the file cannot be read, or is too short for the model to hear one frame.
    """
    waveform = read_wav(path)
    model: Any = classifier.model
    if model._get_feat_extract_output_lengths(len(waveform)) < 1:
        raise ValueError(f"too short to classify: {path} has {len(waveform)} samples at 16 kHz")
    answers = classifier(waveform, top_k=top)
    return f"{path}: " + ", ".join(f"{answer['label']} {answer['score']:.1%}" for answer in answers)


def load_classifier(model_dir: Path) -> transformers.AudioClassificationPipeline:
    """Return the plain transformers pipeline of a folder written by `save_pretrained`.

    Raises:
        ValueError: the folder is missing or holds no model with its feature extractor.
    """
    for name in ("config.json", "preprocessor_config.json"):
        if not (model_dir / name).is_file():
            raise ValueError(f"not a saved model: {model_dir} has no {name}")
    return transformers.pipeline("audio-classification", model=str(model_dir), device="cpu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the likeliest labels of each file; return the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m superb_ks.classify", description=__doc__)
    parser.add_argument("model_dir", type=Path, help="folder written by save_pretrained")
    parser.add_argument("wav", type=Path, nargs="+", help="audio file that libsndfile reads (WAV, FLAC, OGG)")
    parser.add_argument("--top", type=int, default=3, help="how many labels to print (default: 3)")
    options = parser.parse_args(arguments)
    # Whatever the terminal cannot show, such as a word, is shown as escapes.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        classifier = load_classifier(options.model_dir)
        for path in options.wav:
            print(classify(classifier, path, options.top))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
