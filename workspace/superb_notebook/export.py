"""Write a run's model as ONNX files that agree with it: `python -m superb_notebook.export RUN`.

`RUN/onnx/model.onnx` is in float32, `RUN/onnx/model_int8.onnx` in 8-bit integers. Both take waveforms,
float32 [batch, samples] at 16 kHz, and return the probability of each class. Only a file that passes the
check is there: in float32 it gives PyTorch's answers, in int8 its accuracy is within half a point of
PyTorch's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from superb_ks.model.folder import ModelUnavailable, load_classifier
from superb_ks.model.spec import SAMPLING_RATE, SHORTEST
from superb_node.command_line import set_up_output
from superb_node.text import printable
from superb_notebook.agreement import FLOAT32, INT8, PYTORCH, Measured, float32_fault, int8_fault, measure
from superb_notebook.clips import ClipFolder, reachable_clips
from superb_notebook.runs import read_run

LIBRARIES = ("onnx", "onnxruntime", "onnxscript")

MAX_CLIPS = 1_000
"""Of a larger test archive, so many clips are drawn: a point of accuracy is ten of them."""

NOISES = 200


def export(run: Path, test_data: str | None, console: Console) -> bool:
    """Write the files of a run that pass the check, and print how they compare.

    Args:
        run: the run's folder.
        test_data: folder or list of test clips; None: those that `envoy/envoy_config.yaml` names, or noise.
        console: where to print.

    Returns:
        Whether both passed; otherwise a line on the standard error says what did not.

    Raises:
        ValueError, ModelUnavailable, OSError: nothing can be exported; the message is one line.
    """
    from superb_notebook.onnx_files import in_onnxruntime, in_pytorch, write_float32, write_int8

    classifier = load_classifier(model_folder(run))
    names: dict[int, str] = classifier.model.config.id2label or {}  # type: ignore[assignment]
    labels = [names[number] for number in sorted(names)]
    clips = _test_clips(run, labels, test_data)
    with tempfile.TemporaryDirectory(prefix=".onnx-", dir=run) as folder:
        files = {name: Path(folder, name) for name in (FLOAT32, INT8)}
        write_float32(classifier, labels, files[FLOAT32])
        write_int8(files[FLOAT32], files[INT8])
        programs = {PYTORCH: in_pytorch(classifier)}
        programs |= {name: in_onnxruntime(path) for name, path in files.items()}
        measured = measure(programs, waveforms(clips))
        truth = clips.labels[chosen(clips)] if clips.available else measured[PYTORCH].answers
        sizes = {PYTORCH: _bytes(classifier), **{name: path.stat().st_size for name, path in files.items()}}
        console.print(f"Checked on {_what(clips)}; one thread, medians", highlight=False)
        console.print(comparison(measured, truth, sizes, clips.available))
        faults = {FLOAT32: float32_fault(measured), INT8: int8_fault(measured, truth)}
        for name, path in files.items():
            publish(path, run / "onnx" / name, faults[name])
    return not any(faults.values())


def model_folder(run: Path) -> Path:
    """Return where a run keeps its model.

    Raises:
        ValueError: it is no run, or has none.
    """
    if not run.is_dir():
        raise ValueError(f"{printable(str(run))} is not a folder; legal: a run's folder, such as runs/latest")
    if not (run / "model").is_dir():
        raise ValueError(
            f"{printable(str(run))} has no model/; legal: the folder of a run that saved a model"
        )
    return run / "model"


def chosen(clips: ClipFolder) -> np.ndarray:
    """Return the indices of the clips that are checked: all, or `MAX_CLIPS` that are drawn, sorted."""
    if len(clips) <= MAX_CLIPS:
        return np.arange(len(clips))
    return np.sort(np.random.default_rng(0).choice(len(clips), MAX_CLIPS, replace=False))


def waveforms(clips: ClipFolder) -> Iterator[np.ndarray]:
    """Yield what is classified, float32 [n_samples] each: the clips, or without any, noise up to 3 s long."""
    for index in chosen(clips):
        yield clips[index][0]
    draw = np.random.default_rng(0)
    for _ in range(0 if clips.available else NOISES):
        length = int(draw.integers(SHORTEST, 3 * SAMPLING_RATE))
        yield draw.normal(0, 0.1, length).astype(np.float32)


def publish(made: Path, place: Path, fault: str | None) -> None:
    """Move a file to its place; one with a fault is named, and none of an earlier export stays there."""
    if fault is None:
        place.parent.mkdir(exist_ok=True)
        os.replace(made, place)
    else:
        place.unlink(missing_ok=True)
        print(f"error: {place.name} is not published: {fault}", file=sys.stderr)


def comparison(
    measured: Mapping[str, Measured], labels: np.ndarray, sizes: Mapping[str, int], right: bool
) -> Table:
    """Return one row for each program: its file's size, its answers, and the time that a clip takes.

    Args:
        measured: what each made of the clips.
        labels: true classes, int64 [n_clips], or PyTorch's answers where nobody knows.
        sizes: of the files, in bytes.
        right: whether the labels are the true ones.
    """
    table = Table()
    table.add_column("model")
    for column in ("MB", "accuracy" if right else "same as PyTorch", "ms a clip"):
        table.add_column(column, justify="right")
    for name, each in measured.items():
        milliseconds = statistics.median(each.milliseconds)
        table.add_row(
            name,
            f"{sizes[name] / 1e6:.1f}",
            f"{each.correct(labels) / len(labels):.1%}",
            f"{milliseconds:.1f}",
        )
    return table


def _test_clips(run: Path, labels: Sequence[str], test_data: str | None) -> ClipFolder:
    """Find test clips as the notebook does, by the source that the run's summary names."""
    cards: dict[str, dict[str, Any]] = {}
    try:
        cards["the run"] = {"source": read_run(run).data}
    except ValueError as error:
        print(f"{printable(str(run))}: {error}", file=sys.stderr)
    return reachable_clips(cards, labels, test_data)


def _what(clips: ClipFolder) -> str:
    if not clips.available:
        return f"{NOISES} clips of noise (no test clips here; TEST_DATA=FOLDER names some)"
    drawn = f" of {len(clips):,}" if len(clips) > MAX_CLIPS else ""
    return f"{min(len(clips), MAX_CLIPS):,}{drawn} test clips"


def _bytes(classifier: Any) -> int:
    return sum(weight.nbytes for weight in classifier.model.parameters())


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a run's model; returns the exit code: 0, or 1 if a file or the whole run was refused."""
    parser = argparse.ArgumentParser(prog="python -m superb_notebook.export", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, such as runs/latest")
    parser.add_argument("--test-data", help="folder of a test archive, or a testing_list.txt")
    options = parser.parse_args(arguments)
    set_up_output()
    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        print(
            f"error: {', '.join(missing)} cannot be imported; pip install -r requirements-extra.txt helps",
            file=sys.stderr,
        )
        return 1
    try:
        return 0 if export(options.run, options.test_data, Console()) else 1
    except (ValueError, ModelUnavailable, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
