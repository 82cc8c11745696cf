"""Name the word in recordings: `python -m superb_notebook.classify MODEL_DIR WAV [WAV...]`.

Of a recording of more than a second, it names the word that is heard most clearly, and when.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from superb_ks.model.folder import ModelUnavailable, load_classifier
from superb_ks.model.spec import SAMPLING_RATE, lengthened
from superb_node.audio import decode
from superb_node.command_line import set_up_output
from superb_node.labels import SILENCE, UNKNOWN

WINDOW = SAMPLING_RATE
STEP = SAMPLING_RATE // 4

Answers = list[dict[str, Any]]


def read_wav(path: Path) -> np.ndarray:
    """Read an audio file as mono float32 at 16 kHz, shape [n_samples], as an envoy reads its clips.

    Raises:
        ValueError: there is no such file, it is not audio, or it is empty.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    return lengthened(decode(str(path), str(path)))


def window_starts(samples: int) -> list[int]:
    """Return where the seconds begin that are listened to, the last one at the end of the recording."""
    return [*range(0, max(samples - WINDOW, 0), STEP), max(samples - WINDOW, 0)]


def clearest(heard: Sequence[Answers]) -> int:
    """Return the window whose likeliest label is a word with the highest probability, else any label."""

    def clarity(window: int) -> tuple[bool, float]:
        best = heard[window][0]
        return best["label"] not in (SILENCE, UNKNOWN), best["score"]

    return max(range(len(heard)), key=clarity)


def classify(classifier: Any, path: Path, top: int) -> str:
    """Return one line with a file's likeliest labels and their probabilities.

    Args:
        classifier: the transformers pipeline.
        path: the file.
        top: how many labels.

    Raises:
        ValueError: the file cannot be read.
    """
    waveform = read_wav(path)
    starts = window_starts(len(waveform))
    heard = list(classifier((waveform[start : start + WINDOW] for start in starts), top_k=top))
    best = clearest(heard)
    seconds = starts[best] / SAMPLING_RATE
    when = f", {seconds:.2f} to {seconds + 1:.2f} s" if len(starts) > 1 else ""
    answers = ", ".join(f"{answer['label']} {answer['score']:.1%}" for answer in heard[best])
    return f"{path}{when}: {answers}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the likeliest labels of each file; return the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m superb_notebook.classify", description=__doc__)
    parser.add_argument("model_dir", type=Path, help="folder written by save_pretrained")
    parser.add_argument("wav", type=Path, nargs="+", help="audio file that libsndfile reads (WAV, FLAC, OGG)")
    parser.add_argument("--top", type=int, default=3, help="how many labels to print (default: 3)")
    options = parser.parse_args(arguments)
    if options.top < 1:
        parser.error(f"argument --top: is {options.top}; legal: 1 and more")
    set_up_output()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        classifier = load_classifier(options.model_dir)
        for path in options.wav:
            print(classify(classifier, path, options.top))
    except (ValueError, ModelUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
