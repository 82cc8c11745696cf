"""Measures training speed: inside the training task, in a plain PyTorch loop, and in a federation.

    python -m benchmarks.training --model tiny base --federated
    python -m benchmarks.training --model base --tuning full lora head --device cuda --scale 40

Results go to benchmarks/results/training.json.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from benchmarks.training.federated import measure_federation
from benchmarks.training.job import noise_dataset, plain_evaluation, plain_training, unfrozen
from benchmarks.transport.result import merge, now
from superb_ks.model.spec import ModelSpec
from superb_ks.recipe import legal_tunings
from superb_ks.settings import SUPERB_LABELS, TUNINGS, Full, Recipe, Settings, tuning_named
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer
from superb_node.command_line import whole_from
from tests.support.machine import machine

ROOT = Path(__file__).resolve().parents[2]

RESULTS = ROOT / "benchmarks" / "results" / "training.json"
MODELS = ("scratch", "tiny", "base")
CLIPS = {"scratch": 320, "tiny": 320, "base": 96}
WARM_UP = 16
"""Clips that are trained on or scored before anything is timed: libraries choose their kernels."""

Scoring = Callable[[PreTrainedModel, ClipDataset, str], Any]


def main(argv: list[str] | None = None) -> int:
    """Measure what the command line asks for, print it and keep it."""
    options = parse(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: PyTorch sees no GPU here; legal: cpu", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name, tuning in options.pairs:
        clips = max(WARM_UP, int(CLIPS[name] * options.scale))
        measure = measure_head if tuning == "head" else measure_speed
        measured = measure(name, tuning, clips, options.repeats, options.device)
        measured |= measure_evaluation(name, tuning, clips, options.repeats, options.device)
        keep(f"{name} {tuning} {options.device}", {"threads": options.threads, **measured})
    if options.federated:
        keep("federated", measure_federation(max(32, int(640 * options.scale)), options.repeats))
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; `pairs` are the models and tunings to measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="*", choices=MODELS, help="default: all that have the tunings")
    parser.add_argument("--tuning", nargs="+", default=["full"], choices=TUNINGS, help="scratch: full alone")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--federated", action="store_true", help="the federated ratio, too (on processors)")
    parser.add_argument("--threads", type=whole_from(1), default=2, help="of PyTorch, for clips a second")
    parser.add_argument(
        "--repeats", type=whole_from(1), default=3, help="measurements in turn; medians are kept"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of clips")
    options = parser.parse_args(argv)
    options.pairs = []
    for model, tuning in itertools.product(
        MODELS if options.model is None else options.model, options.tuning
    ):
        if tuning in legal_tunings(model):
            options.pairs.append((model, tuning))
        elif options.model is not None:
            legal = ", ".join(legal_tunings(model))
            parser.error(f"argument --tuning: {tuning!r} with --model {model}; legal: {legal}")
    return options


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


def measure_speed(name: str, tuning: str, clips: int, repeats: int, device: str) -> dict[str, Any]:
    """Return clips a second in the task, in plain loops, and in the original tutorial's setting.

    The ways take turns, so that a busy machine slows all of them, and the medians are compared. `plain` has
    the task's settings, `naive` is as most would write it, `original` is that in float32 with everything
    trained. On a GPU, with the bytes that PyTorch had allocated there at most.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(name, tuning, Path(folder), recipe=Recipe(epochs_per_round=1))
        original = replace(settings, tuning=Full(), precision="float32")
        spec, whole = (ModelSpec.of(each, SUPERB_LABELS) for each in (settings, original))
        dataset = noise_dataset(spec, clips)

        def loop(model: PreTrainedModel, of: Settings = settings, naive: bool = False) -> None:
            plain_training(model, dataset, of, device=device, naive=naive)

        ways: dict[str, tuple[ModelSpec, Callable[[PreTrainedModel], Any]]] = {
            "task": (spec, lambda model: local_trainer(model, dataset, settings, device, 0).train()),
            "plain": (spec, loop),
            "naive": (spec, lambda model: loop(model, naive=True)),
            "original": (whole, lambda model: loop(unfrozen(model), original, naive=True)),
        }
        plain_training(spec.build(), noise_dataset(spec, WARM_UP), settings, device=device)
        runs: dict[str, list[Run]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, (built, train) in ways.items():
                runs[way].append(timed(train, built, device))
    seconds = {way: statistics.median(run.seconds for run in done) for way, done in runs.items()}
    rates: dict[str, Any] = {f"{way}_clips_per_second": clips / seconds[way] for way in ways}
    for way in ("plain", "naive", "original"):
        rates[f"task_to_{way}"] = seconds[way] / seconds["task"]
    work = {"clips": clips, "batch_size": settings.complete_recipe.batch_size, "repeats": repeats}
    return {**work, **hardware(device), **rates, **peaks(runs, device)}


def measure_head(name: str, tuning: str, clips: int, repeats: int, device: str) -> dict[str, Any]:
    """Return the seconds of a head's first pass over clips, of a later one, and of any pass of a plain loop.

    The first computes the hidden states, each time of another data set; the plain loop computes them in
    every pass.
    """
    passes: list[dict[str, float]] = []
    runs: dict[str, list[Run]] = {"task": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(name, tuning, Path(folder))
        once = replace(settings, recipe=Recipe(epochs_per_round=1))
        spec = ModelSpec.of(settings, SUPERB_LABELS)
        plain_training(spec.build(), noise_dataset(spec, WARM_UP), once, device=device)
        for _ in range(repeats):
            dataset = noise_dataset(spec, clips)

            def train(model: PreTrainedModel, data: Any = dataset) -> None:
                passes.append(local_trainer(model, data, settings, device, 0).train().metrics)

            def loop(model: PreTrainedModel, data: Any = dataset) -> None:
                plain_training(model, data, once, device=device)

            runs["task"].append(timed(train, spec, device))
            runs["plain"].append(timed(loop, spec, device))
    figures: dict[str, Any] = {key: statistics.median(run[key] for run in passes) for key in passes[0]}
    figures["first_to_later"] = figures["first_pass_seconds"] / figures["later_pass_seconds"]
    figures["plain_pass_seconds"] = statistics.median(run.seconds for run in runs["plain"])
    return {"clips": clips, "repeats": repeats, **hardware(device), **figures, **peaks(runs, device)}


def measure_evaluation(name: str, tuning: str, clips: int, repeats: int, device: str) -> dict[str, Any]:
    """Return the clips a second that the evaluation task scores for the first time, and a plain loop."""
    with tempfile.TemporaryDirectory() as folder:
        spec = ModelSpec.of(settings_of(name, tuning, Path(folder)), SUPERB_LABELS)
        ways: dict[str, Scoring] = {"task": evaluate, "plain": plain_evaluation}
        plain_evaluation(spec.build(), noise_dataset(spec, WARM_UP), device)
        runs: dict[str, list[Run]] = {way: [] for way in ways}
        for _, (way, scoring) in itertools.product(range(repeats), ways.items()):
            dataset = noise_dataset(spec, clips)

            def score(model: PreTrainedModel, by: Scoring = scoring, data: ClipDataset = dataset) -> None:
                by(model, data, device)

            runs[way].append(timed(score, spec, device))
    seconds = {way: statistics.median(run.seconds for run in done) for way, done in runs.items()}
    rates = {f"{way}_evaluated_per_second": clips / seconds[way] for way in ways}
    return {**rates, "evaluation_to_plain": seconds["plain"] / seconds["task"]}


def peaks(runs: dict[str, list[Run]], device: str) -> dict[str, int]:
    """Return the most bytes that each way had allocated on the GPU; nothing on a processor."""
    if device != "cuda":
        return {}
    return {f"{way}_peak_bytes": max(run.peak_bytes for run in done) for way, done in runs.items()}


@dataclass(frozen=True)
class Run:
    """One training: how long it took, and the most bytes that were allocated on the GPU (else 0)."""

    seconds: float
    peak_bytes: int


def timed(train: Callable[[PreTrainedModel], Any], spec: ModelSpec, device: str) -> Run:
    """Train a freshly built model, and take the time until the device is done."""
    model, on_gpu = spec.build(), device == "cuda"
    if on_gpu:
        gc.collect()  # what an earlier training left does not count
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    train(model)
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return Run(seconds, torch.cuda.max_memory_allocated() if on_gpu else 0)


def settings_of(name: str, tuning: str, folder: Path, recipe: Recipe | None = None) -> Settings:
    """Return the settings of a measurement; a base-size model is written into the folder."""
    model = save_base(folder / "base") if name == "base" else name
    return Settings(model=model, tuning=tuning_named(tuning), recipe=recipe or Recipe())


def hardware(device: str) -> dict[str, str]:
    """Name what was trained on, in addition to the machine that every row has."""
    return {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}


def save_base(folder: Path) -> str:
    """Save a wav2vec2-base with random weights; returns the folder's name."""
    from benchmarks.transport.job import random_model

    random_model("base", 0).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return str(folder)
