"""What SUPERB's whole training data cost: time, memory and disk on 51,094 clips.

The training archive is made of hard links to a sample's clips, as for `benchmarks.data`, so the disk holds
each clip once. Every step is a process of its own. Processor seconds are those of one thread: what else the
machine does hardly changes them. Memory is the highest anonymous one, libraries included.

    python -m benchmarks.full_data                     # every step
    python -m benchmarks.full_data --steps open hub    # some of them

Results go to benchmarks/results/full_data.json; what an epoch on all clips takes is printed from there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.data import ENVOY, FULL, ROOT, SAMPLE, make_folder
from benchmarks.transport.result import load, merge, now
from benchmarks.transport.watch import MemoryWatch
from tests.support.machine import machine

RESULTS = ROOT / "benchmarks" / "results" / "full_data.json"
MODELS, TUNINGS = ("tiny", "base"), ("full", "lora", "head")
CLIPS = {"tiny": 640, "base": 64}
"""That are trained on for a figure."""
EPOCH = 52_942
"""Clips of an epoch on SUPERB's training data: 51,088 of speech and 1,854 of silence. `FULL` counts the six
recordings that silence is cut from as well, and not the silence."""
FILES = 4
"""Parquet files of the training split."""
PLAIN: dict[str, Any] = {"use_dictionary": False, "compression": "none"}
"""How they are written: anything else would store a clip that occurs again but once."""


def open_shard(source: str, *where: str) -> Any:
    """Open the shard that holds everything."""
    sys.path.insert(0, str(ENVOY))
    from superb_shard_descriptor import SuperbShardDescriptor

    if source == "hub":
        return SuperbShardDescriptor("1, 1", "hub", hub={"id": where[0]})
    return SuperbShardDescriptor("1, 1", "folder", data_dir=where[0], test_dir=where[1])


def measure_opening(source: str, *where: str) -> dict[str, float]:
    """Open the shard; its card is what an envoy registers with."""
    shard, seconds = on_processor(lambda: open_shard(source, *where))
    return {"cpu_seconds": seconds, "clips": len(shard.get_dataset("train"))}


def measure_check(train: str, test: str) -> dict[str, float]:
    """Look through all clips, as `make check-data` does."""
    sys.path.insert(0, str(ENVOY))
    from speech_commands.check.__main__ import main

    sys.argv[1:] = [train, "--test-data", test]

    def check() -> None:
        try:
            main()
        except SystemExit as error:
            if error.code == 2:
                raise

    return {"cpu_seconds": on_processor(check)[1]}


def measure_training(name: str, tuning: str, train: str, test: str) -> dict[str, float]:
    """Train on the first clips of the shard, and score as many; in milliseconds of one thread for a clip."""
    import torch
    from torch.utils.data import Subset

    from benchmarks.training.run import settings_of
    from superb_ks.model.spec import ModelSpec
    from superb_ks.settings import SUPERB_LABELS, Recipe
    from superb_ks.training.data import ClipDataset
    from superb_ks.training.evaluation import evaluate
    from superb_ks.training.local import local_trainer

    torch.set_num_threads(1)
    shard, clips = open_shard("folder", train, test), CLIPS[name]
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(name, tuning, Path(folder), Recipe(epochs_per_round=1))
        spec = ModelSpec.of(settings, SUPERB_LABELS)

        def part(first: int, count: int = clips) -> ClipDataset:
            rows = Subset(shard.get_dataset("train"), range(first, FULL, FULL // clips)[:count])
            return ClipDataset(rows, spec.feature_extractor())

        local_trainer(spec.build(), part(0, 32), settings, "cpu", 0).train()  # libraries choose their kernels
        model = spec.build()
        _, training = on_processor(lambda: local_trainer(model, part(1), settings, "cpu", 0).train())
        _, scoring = on_processor(lambda: evaluate(model, part(2), "cpu"))
    return {"clips": clips, "training_ms": 1000 * training / clips, "scoring_ms": 1000 * scoring / clips}


def on_processor(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `work` returns and the processor's seconds."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return result, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_hub_files(folder: Path, train: Path, test: Path) -> None:
    """Write the two archives as the hub's parquet files: `ks/SPLIT/000N.parquet`."""
    # Here, since its libraries would count as memory of every process that is measured.
    from tests.support.superb_parquet import write_parquet

    listed = set((train / "validation_list.txt").read_text(encoding="utf-8").split())
    clips = sorted(train.glob("*/*.wav"))
    named = [f"{path.parent.name}/{path.name}" in listed for path in clips]
    splits = {
        "train": [path for path, held_out in zip(clips, named, strict=True) if not held_out],
        "validation": [path for path, held_out in zip(clips, named, strict=True) if held_out],
        "test": sorted(test.glob("*/*.wav")),
    }
    for split, paths in splits.items():
        for number, part in enumerate(paths[first::FILES] for first in range(FILES)):
            columns: dict[str, list[Any]] = {
                "file": [str(path) for path in part],
                "audio": [{"bytes": path.read_bytes(), "path": None} for path in part],
                "label": [label_of(path.parent.name) for path in part],
            }
            path = folder / "ks" / split / f"{number:04}.parquet"
            write_parquet(path, columns, names=None, row_group_size=100, **PLAIN)


def label_of(folder: str) -> str:
    """Return the class that SUPERB gives to a folder of the archives."""
    from superb_node.labels import KEYWORDS

    if folder in KEYWORDS or folder == "_silence_":
        return folder
    return "_silence_" if folder == "_background_noise_" else "_unknown_"


MEASURES: dict[str, Callable[..., dict[str, float]]] = {
    "opening": measure_opening,
    "check": measure_check,
    "training": measure_training,
}


def in_a_process(cache: Path, measure: str, *arguments: str) -> dict[str, float]:
    """Measure in a fresh process; its highest anonymous memory is watched from here."""
    command = [sys.executable, "-m", "benchmarks.full_data", "--measure", measure, *arguments]
    own = {"SUPERB_CACHE": str(cache), "HF_HOME": str(cache / "hf"), "OMP_NUM_THREADS": "1"}
    with (
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **own}, stdout=subprocess.PIPE) as process,
        MemoryWatch({measure: process.pid}) as watch,
    ):
        out = process.communicate()[0].decode()
    if process.returncode:
        raise SystemExit(f"error: {' '.join(command)} ended with {process.returncode}")
    return {
        **json.loads(out.splitlines()[-1]),
        "memory_mb": watch.figures()[measure]["peak_anonymous"] / 1e6,
    }


def size_mb(folder: Path) -> float:
    """Return the bytes of all files below a folder, in MB; a clip counts under each of its names."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def archives(sample: Path) -> tuple[Path, Path]:
    """Return the absolute folders of the sample's training and test archive, or exit with one line."""
    # Here, since its libraries would count as memory of every process that is measured.
    from demo.options import TEST_FOLDER

    train = sample.resolve()
    test = train.with_name(TEST_FOLDER)
    if not train.is_dir() or not test.is_dir():
        missing = f"no {TEST_FOLDER} next to it" if train.is_dir() else "no such folder"
        legal = f"a training archive with {TEST_FOLDER} next to it"
        sys.exit(f"error: --sample {sample}: {missing}; legal: {legal}")
    return train, test


def steps(work: Path, sample: Path, test: Path, chosen: set[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Make the data from the sample, and measure the steps."""
    train, cache = work / "full" / "train", work / "c"
    make_folder(train, sample, FULL)
    folders = str(train), str(test)
    if "open" in chosen:
        yield "open a folder, first", {
            "disk_mb": size_mb(train), **in_a_process(cache, "opening", "folder", *folders),
        }  # fmt: skip
        yield "open a folder, again", {
            **in_a_process(cache, "opening", "folder", *folders), "disk_mb": size_mb(cache),
        }  # fmt: skip
    if "check" in chosen:
        yield "check a folder", in_a_process(cache, "check", *folders)
    if "hub" in chosen:
        hub = work / "hub"
        write_hub_files(hub, train, test)
        yield "open hub files, first", {
            "disk_mb": size_mb(hub), **in_a_process(cache, "opening", "hub", str(hub)),
        }  # fmt: skip
        yield "open hub files, again", {
            **in_a_process(cache, "opening", "hub", str(hub)), "disk_mb": size_mb(cache / "hf"),
        }  # fmt: skip
    for name in MODELS:
        for tuning in TUNINGS:
            if f"{name}-{tuning}" in chosen:
                yield f"{name} {tuning}", in_a_process(cache, "training", name, tuning, *folders)


def expected() -> Iterator[str]:
    """Say what an epoch on SUPERB's training data takes, by the results."""
    for name, row in load(RESULTS).items():
        if "training_ms" in row:
            train, score = (f"{row[f'{kind}_ms'] * EPOCH / 1000:.0f} s" for kind in ("training", "scoring"))
            yield f"{name}: {train} of one thread to train on {EPOCH} clips, {score} to score them"


def main() -> None:
    """Measure, print and write the results."""
    every = ["open", "check", "hub", *(f"{name}-{tuning}" for name in MODELS for tuning in TUNINGS)]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.full_data", description="What the whole training data cost."
    )
    parser.add_argument("--sample", type=Path, default=SAMPLE, help="training archive that is linked to")
    parser.add_argument("--steps", nargs="*", default=every, choices=every)
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, *arguments = options.measure
        figures = MEASURES[name](*arguments)
        print(json.dumps(figures))
        return
    sample, test = archives(options.sample)
    with tempfile.TemporaryDirectory() as work:
        for name, figures in steps(Path(work), sample, test, set(options.steps)):
            print(name, *(f"{key}={value:.4g}" for key, value in figures.items()), flush=True)
            load_now = round(os.getloadavg()[0], 1)  # well above the cores: others' work is in the seconds
            merge(name, {**figures, "load": load_now, "date": now(), "machine": machine()}, RESULTS)
    print("\n".join(expected()))


if __name__ == "__main__":
    main()
