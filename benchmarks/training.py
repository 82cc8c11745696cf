"""Measures training speed: inside the training task, in a plain PyTorch loop, and in a federation.

    python -m benchmarks.training --model scratch base --federated

Results go to benchmarks/results/training.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workspace"))

import torch  # noqa: E402
import transformers  # noqa: E402

from benchmarks.training_federated import measure_federation  # noqa: E402
from benchmarks.training_job import noise_dataset, plain_training  # noqa: E402
from benchmarks.transport_result import machine, merge, now  # noqa: E402
from superb_ks.model import ModelSpec  # noqa: E402
from superb_ks.settings import SUPERB_LABELS, Settings  # noqa: E402
from superb_ks.tasks import local_trainer  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "training.json"
MODELS = ("scratch", "base")
BATCH = 16
CLIPS = {"scratch": 320, "base": 48}


def main(argv: list[str] | None = None) -> int:
    """Measure what the command line asks for, print it and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="*", default=list(MODELS), choices=MODELS)
    parser.add_argument("--federated", action="store_true", help="the federated ratio, too")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch, for clips a second")
    parser.add_argument("--repeats", type=int, default=3, help="measurements in turn; medians are kept")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of clips")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in options.model:
        clips = max(BATCH, int(CLIPS[name] * options.scale))
        keep(name, {"threads": options.threads, **measure_speed(name, clips, options.repeats)})
    if options.federated:
        keep("federated", measure_federation(max(32, int(640 * options.scale)), options.repeats))
    return 0


def keep(name: str, figures: dict[str, Any]) -> None:
    """Print figures and put them into the results file."""
    print(
        name,
        *(
            f"{key}={value:.3f}" if isinstance(value, float) else f"{key}={value}"
            for key, value in figures.items()
        ),
    )
    merge(name, {**figures, "date": now(), "machine": machine()}, RESULTS)


def measure_speed(name: str, clips: int, repeats: int) -> dict[str, Any]:
    """Return clips a second in the task, in a plain loop, and in the original tutorial's setting.

    The ways take turns, so that a busy machine slows all of them, and the medians are compared.
    """
    with tempfile.TemporaryDirectory() as folder:
        spec = ModelSpec(name if name == "scratch" else save_base(Path(folder) / "base"), SUPERB_LABELS)
        settings = Settings(model=spec.name, epochs_per_round=1, batch_size=BATCH)
        original = Settings(model=spec.name, epochs_per_round=1, batch_size=BATCH, precision="float32")
        dataset = noise_dataset(spec, clips)
        ways: dict[str, Callable[[], float]] = {
            "task": lambda: timed(
                lambda model: local_trainer(model, dataset, settings, "cpu", 0).train(), spec
            ),
            "plain": lambda: timed(lambda model: plain_training(model, dataset, settings), spec),
            "original": lambda: timed(
                lambda model: plain_training(model.requires_grad_(True), dataset, original), spec
            ),
        }
        plain_training(spec.build(), noise_dataset(spec, BATCH), settings)  # libraries choose their kernels
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, measure in ways.items():
                seconds[way].append(measure())
    rates: dict[str, Any] = {
        f"{way}_clips_per_second": clips / statistics.median(values) for way, values in seconds.items()
    }
    rates["task_to_plain"] = rates["task_clips_per_second"] / rates["plain_clips_per_second"]
    rates["task_to_original"] = rates["task_clips_per_second"] / rates["original_clips_per_second"]
    return {"clips": clips, "repeats": repeats, **rates}


def timed(train: Callable[[Any], Any], spec: ModelSpec) -> float:
    """Return the seconds that a training takes on a freshly built model."""
    model = spec.build()
    started = time.perf_counter()
    train(model)
    return time.perf_counter() - started


def save_base(folder: Path) -> str:
    """Save a wav2vec2-base with random weights; returns the folder's name."""
    from benchmarks.transport_job import random_model

    config = random_model("base", 0)
    config.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return str(folder)


if __name__ == "__main__":
    sys.exit(main())
