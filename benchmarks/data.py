"""How fast a full-size shard opens and reads, and in how much memory; `make bench-data`.

A folder of 51,094 training clips is made of hard links to a sample's clips under distinct names, so the disk
holds each clip once. Every figure is taken in a process of its own: resident memory is read from /proc, and
what is imported before the first look at the data is not counted. Times are the median of `--repeats`
processes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from superb_node.command_line import whole_from
from superb_node.work_folder import replace_file

ROOT = Path(__file__).resolve().parent.parent
ENVOY = ROOT / "envoy"
SAMPLE = ROOT.parent / "shared" / "speech_commands_v0.01"
RESULTS = ROOT / "benchmarks" / "results" / "data.json"

FULL = 51_094  # training clips of SUPERB
SMALL = 2_000  # for the comparison with decoding everything
RANDOM_READS = 5_000

LIMITS = {
    "first_open_seconds": ("at most", 5.0),
    "open_again_seconds": ("at most", 0.5),
    "open_memory_mb": ("at most", 150.0),
    "after_reading_memory_mb": ("at most", 150.0),
    "decoded_clips_a_second": ("at least", 3_000.0),
    "first_item_times_faster": ("at least", 20.0),
    "memory_share": ("at most", 1 / 20),
}


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `work` returns and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def measure_shard(train: str, test: str, reads: int) -> dict[str, float]:
    """Open one of two shards, take the first item, then `reads` at random."""
    import numpy as np

    sys.path.insert(0, str(ENVOY))
    from superb_shard_descriptor import SuperbShardDescriptor

    before = resident_mb()
    processor = time.process_time()
    shard, seconds = timed(lambda: SuperbShardDescriptor("1, 2", "folder", train, test))
    figures = {"open_seconds": seconds, "open_cpu_seconds": time.process_time() - processor}
    figures["open_memory_mb"] = resident_mb() - before
    data = shard.get_dataset("train")
    _, first = timed(lambda: data[0])
    figures["first_item_seconds"] = seconds + first
    figures["first_item_memory_mb"] = resident_mb() - before
    rows = np.random.default_rng(0).integers(0, len(data), reads).tolist()
    _, decoding = timed(lambda: [len(data[row][0]) for row in rows])
    figures["clips_a_second"] = reads / decoding if reads else 0.0
    figures["after_reading_memory_mb"] = resident_mb() - before
    return figures


def measure_original(train: str, test: str, reads: int) -> dict[str, float]:
    """Do as the original tutorial's descriptor does: decode the whole split, then slice it."""
    import numpy as np
    import soundfile

    listed = listed_names(Path(train))
    paths = [path for path in sorted(Path(train).glob("[a-z]*/*.wav")) if name_of(path) not in listed]
    soundfile.info(paths[0])
    before = resident_mb()

    def first_item() -> tuple[list[dict[str, Any]], np.ndarray]:
        audio = []
        for path in paths:
            array, rate = soundfile.read(path)
            audio.append({"path": str(path), "array": array.T, "sampling_rate": rate})
        own = audio[0::2]
        return own, own[0]["array"]

    kept, seconds = timed(first_item)
    return {
        "first_item_seconds": seconds,
        "first_item_memory_mb": resident_mb() - before,
        "clips": len(kept[0]),
    }


MEASURES = {"shard": measure_shard, "original": measure_original}


def in_a_process(measure: str, train: Path, test: Path, reads: int, cache: Path) -> dict[str, float]:
    """Measure in a fresh process."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.data",
        "--measure",
        measure,
        str(train),
        str(test),
        str(reads),
    ]
    environment = {**os.environ, "SUPERB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def listed_names(archive: Path) -> set[str]:
    """Return what the two lists of a training archive name: the clips that are not for training."""
    lists = (archive / name for name in ("validation_list.txt", "testing_list.txt"))
    return {name for path in lists if path.exists() for name in path.read_text(encoding="utf-8").split()}


def name_of(path: Path) -> str:
    """Return a clip's name in those lists."""
    return f"{path.parent.name}/{path.name}"


def make_folder(train: Path, sample: Path, clips: int) -> None:
    """Make a training archive of hard links to one copy of the sample's training clips."""
    listed = listed_names(sample)
    chosen = [path for path in sorted(sample.glob("[a-z]*/*.wav")) if name_of(path) not in listed]
    pool = train.parent / "pool"
    for number in range(clips):
        source = chosen[number % len(chosen)]
        own = pool / source.parent.name / source.name
        if not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, own)
        speaker = source.name.split("_")[0]
        target = train / source.parent.name / f"{speaker}_nohash_{1000 + number}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(own, target)
    for name in (sample / "validation_list.txt").read_text(encoding="utf-8").split():
        target = train / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sample / name, target)
    shutil.copytree(
        sample / "_background_noise_", train / "_background_noise_", copy_function=shutil.copyfile
    )
    shutil.copyfile(sample / "validation_list.txt", train / "validation_list.txt")
    settle(train)


def settle(root: Path) -> None:
    """Date the folders back: an index of folders that have just changed is not kept."""
    for folder in (root, *(path for path in root.iterdir() if path.is_dir())):
        os.chmod(folder, 0o755)
        os.utime(folder, (1_000_000, 1_000_000))


def run(sample: Path, repeats: int) -> dict[str, Any]:
    """Measure everything."""
    test = sample.parent / "speech_commands_test_set_v0.01"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        full, small = work / "full" / "train", work / "small" / "train"
        make_folder(full, sample, FULL)
        make_folder(small, sample, SMALL)
        rounds = []
        for number in range(repeats):
            cache = work / f"cache-{number}"
            rounds.append(
                {
                    "first": in_a_process("shard", full, test, 0, cache),
                    "again": in_a_process("shard", full, test, RANDOM_READS, cache),
                    "small_first": in_a_process("shard", small, test, 0, cache),
                    "small_again": in_a_process("shard", small, test, 0, cache),
                    "original": in_a_process("original", small, test, 0, cache),
                }
            )
    return summarise(rounds)


def summarise(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return the median of each figure."""

    def median(measure: str, figure: str) -> float:
        return statistics.median(each[measure][figure] for each in rounds)

    original_memory = median("original", "first_item_memory_mb")
    figures = {
        "first_open_seconds": median("first", "open_seconds"),
        "first_open_cpu_seconds": median("first", "open_cpu_seconds"),
        "open_again_seconds": median("again", "open_seconds"),
        "open_again_cpu_seconds": median("again", "open_cpu_seconds"),
        "open_memory_mb": max(median("first", "open_memory_mb"), median("again", "open_memory_mb")),
        "after_reading_memory_mb": median("again", "after_reading_memory_mb"),
        "decoded_clips_a_second": median("again", "clips_a_second"),
        "first_item_seconds": median("small_again", "first_item_seconds"),
        "first_item_seconds_without_index": median("small_first", "first_item_seconds"),
        "original_first_item_seconds": median("original", "first_item_seconds"),
        "original_memory_mb": original_memory,
    }
    figures["first_item_times_faster"] = (
        figures["original_first_item_seconds"] / figures["first_item_seconds"]
    )
    figures["memory_share"] = median("small_again", "first_item_memory_mb") / original_memory
    return figures


def verdicts(figures: dict[str, float]) -> dict[str, bool]:
    """Return for each limit whether it is kept."""
    return {
        name: figures[name] <= limit if bound == "at most" else figures[name] >= limit
        for name, (bound, limit) in LIMITS.items()
    }


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description="Open and read a full-size shard."
    )
    parser.add_argument(
        "--sample", type=Path, default=SAMPLE, help="training archive whose clips are linked to"
    )
    parser.add_argument("--repeats", type=whole_from(1), default=3, help="processes for each figure")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, train, test, reads = arguments.measure
        print(json.dumps(MEASURES[name](train, test, int(reads))))
        return
    if not arguments.sample.is_dir():
        sys.exit(f"error: {arguments.sample}: no such folder; --sample names another Speech Commands archive")
    figures = run(arguments.sample.resolve(), arguments.repeats)
    kept = verdicts(figures)
    for name, value in figures.items():
        bound, limit = LIMITS.get(name, ("", None))
        verdict = "" if limit is None else f"{bound} {limit:g}: {'kept' if kept[name] else 'MISSED'}"
        print(f"{name:<34}{value:>12.4g}  {verdict}")
    write(figures, kept, arguments.repeats)
    sys.exit(0 if all(kept.values()) else 1)


def write(figures: dict[str, float], kept: dict[str, bool], repeats: int) -> None:
    """Write the results with what they were measured on."""
    # Here, since they import PyTorch, which no process that is measured is to have.
    from benchmarks.compare.results import commit
    from benchmarks.transport.result import now, rounded
    from tests.support.machine import machine

    row = {
        "date": now(),
        "commit": commit(),
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),  # well above the cores: wall times are others' too
        "clips": FULL,
        "repeats": repeats,
        "figures": rounded(figures),
        "kept": kept,
    }
    replace_file(RESULTS, (json.dumps(row, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
