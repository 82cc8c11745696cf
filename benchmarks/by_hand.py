"""Envoys started by hand, envoys of `make demo`, and one plain process that does all their steps.

    python -m benchmarks.by_hand [--envoys 1 2 4] [--repeats 3]

By hand: director, envoys and notebook start in a shell that has HOME and PATH alone, from copies of their
folders, as the README says; the notebook is executed by `jupyter nbconvert`, whose kernel is what JupyterLab
starts. The demo's way: `demo.federation` and `demo.notebook`, in this process's environment. Both are up
while they take turns. Compared are the seconds of learning, from the submission to the last record; the
notebook's cells behind that are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill

from benchmarks.compare.results import commit
from benchmarks.transport.result import merge, now
from demo import notebook
from demo.__main__ import notebook_parameters
from demo.federation import Federation
from demo.interrupts import Interrupted, raise_interrupted
from demo.options import TUTORIAL, WORKSPACE, Options
from demo.speech import make_synthetic_speech
from superb_node.command_line import whole_from
from tests.support.machine import machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "by_hand.json"
ROUNDS = 1
# The most times the demo's seconds, and the plain process's for two envoys.
MAX_TO_DEMO, MAX_TO_PLAIN, PLAIN_ENVOYS = 1.1, 1.15, 2
PROGRAMS = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


class ByHand(Federation):
    """A federation whose services get what a bare shell has, and a port, because another one is up."""

    def _variables(self) -> dict[str, str]:
        return {**bare(), "DIRECTOR_PORT": str(self.director_port)}


def bare() -> dict[str, str]:
    """Return the environment of `env -i` with HOME and PATH."""
    return {"HOME": os.environ["HOME"], "PATH": PROGRAMS}


def main(argv: list[str] | None = None) -> int:
    """Measure, print and keep what was measured; returns 1 if a ratio is above its limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--envoys", type=whole_from(1), nargs="+", default=[1, 2, 4])
    parser.add_argument(
        "--repeats", type=whole_from(1), default=3, help="runs of each, in turn; medians are kept"
    )
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.plain:
        print(json.dumps(plain_steps()))
        return 0
    try:
        with raise_interrupted():
            return measure_all(options.envoys, options.repeats)
    except Interrupted as interrupted:
        return interrupted.exit_code


def measure_all(counts: list[int], repeats: int) -> int:
    """Measure with these numbers of envoys, one count after another; returns the exit code."""
    make_synthetic_speech(0)
    missed, measured = 0, commit()  # before the first row of figures changes a file
    for envoys in counts:
        figures = measure(envoys, repeats)
        missed += not figures["good"]
        print(f"{envoys} envoys:", *(f"{key}={value}" for key, value in figures.items()), flush=True)
        about = {"rounds": ROUNDS, "date": now(), "commit": measured, "machine": machine()}
        merge(f"{envoys} envoys", {**figures, **about}, RESULTS)
    return int(missed > 0)


def measure(envoys: int, repeats: int) -> dict[str, Any]:
    """Return the seconds of each way, their medians' ratios, and whether those are good enough."""
    with tempfile.TemporaryDirectory() as folder, both_federations(Path(folder), envoys) as ways:
        if envoys == PLAIN_ENVOYS:
            ways["plain"] = plain_seconds
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(repeats):
            for way in list(ways) if number % 2 == 0 else list(reversed(ways)):
                seconds[way].append(round(ways[way](), 2))
    medians = {way: statistics.median(each) for way, each in seconds.items()}
    limits = {"demo": MAX_TO_DEMO, "plain": MAX_TO_PLAIN}
    ratios = {way: round(medians["by_hand"] / medians[way], 3) for way in limits if way in medians}
    good = all(ratio <= limits[way] for way, ratio in ratios.items())
    return {
        **{f"{way}_seconds": each for way, each in seconds.items()},
        **{f"by_hand_to_{way}": ratio for way, ratio in ratios.items()},
        "good": good,
    }


@contextlib.contextmanager
def both_federations(folder: Path, envoys: int) -> Iterator[dict[str, Callable[[], float]]]:
    """Yield, by name, what runs the notebook once and returns its seconds of learning."""
    ways = {"by_hand": (ByHand, executed_by_hand), "demo": (Federation, executed_by_the_demo)}
    with contextlib.ExitStack() as stack:
        started: dict[str, Callable[[], float]] = {}
        for name, (kind, execute) in ways.items():
            federation = stack.enter_context(kind(folder / name, envoys=envoys))

            def run(federation: Federation = federation, execute: Callable[..., None] = execute) -> float:
                with tempfile.TemporaryDirectory(dir=folder) as run_dir:
                    options = Options(envoys=envoys, settings={"ROUNDS": ROUNDS})
                    parameters = notebook_parameters(options, federation, Path(run_dir))
                    execute({**parameters, "RUN_DIR": run_dir}, Path(run_dir))
                    federation.check()
                    return float((Path(run_dir) / "seconds").read_text(encoding="utf-8"))

            started[name] = run
        yield started


def until_learned(folder: Path) -> Path:
    """Write the notebook up to the cell that watches, and cells that take the time; returns the file."""
    tutorial = nbformat.read(TUTORIAL, as_version=4)
    submits = next(i for i, cell in enumerate(tutorial.cells) if "FederatedExperiment(" in cell.source)
    timing = nbformat.v4.new_code_cell("import time\nfrom pathlib import Path\nstarted = time.monotonic()")
    tutorial.cells.insert(submits, timing)
    last = next(i for i, cell in enumerate(tutorial.cells) if cell.source.rstrip().endswith("list(cards))"))
    noting = nbformat.v4.new_code_cell(
        "(Path(RUN_DIR) / 'seconds').write_text(str(time.monotonic() - started))"
    )
    tutorial.cells[last + 1 :] = [noting]
    nbformat.write(tutorial, folder / TUTORIAL.name)
    return folder / TUTORIAL.name


def executed_by_the_demo(parameters: dict[str, Any], run_dir: Path) -> None:
    """Execute the notebook as `make demo` does."""
    notebook.execute(until_learned(run_dir), run_dir / "executed.ipynb", WORKSPACE, parameters)


def executed_by_hand(parameters: dict[str, Any], run_dir: Path) -> None:
    """Execute the notebook from a copy of its folder, in a bare shell."""
    workspace = run_dir / "workspace"
    shutil.copytree(WORKSPACE, workspace, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    path = str(until_learned(workspace))
    papermill.execute_notebook(path, path, parameters, prepare_only=True)
    command = ["nbconvert", "--to", "notebook", "--execute", "--output", "executed", TUTORIAL.name]
    jupyter = str(shutil.which("jupyter", path=PROGRAMS))
    result = subprocess.run(
        [jupyter, *command], cwd=workspace, env=bare(), capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"the notebook failed by hand:\n{result.stderr[-3000:]}")


def plain_seconds() -> float:
    """Let one process without a federation do the steps of both envoys; returns its seconds."""
    command = [sys.executable, "-m", "benchmarks.by_hand", "--plain"]
    return float(subprocess.run(command, cwd=ROOT, env=bare(), stdout=subprocess.PIPE, check=True).stdout)


def plain_steps() -> float:
    """Do what the envoys' tasks do in all rounds, one shard after the other; returns the seconds it took."""
    from superb_ks.collaborator.shard_data import open_shard
    from superb_ks.model.spec import ModelSpec
    from superb_ks.settings import Settings
    from superb_ks.training.evaluation import evaluate
    from superb_ks.training.local import local_trainer
    from superb_shard_descriptor import SuperbShardDescriptor

    shards = [SuperbShardDescriptor(f"{rank + 1}, {PLAIN_ENVOYS}") for rank in range(PLAIN_ENVOYS)]
    settings = Settings(model="tiny", rounds=ROUNDS)
    spec = ModelSpec.of(settings, shards[0].labels).sealed()
    extractor = spec.feature_extractor()
    splits = [open_shard(shard, extractor) for shard in shards]
    started = time.perf_counter()
    model = spec.build()
    for clips in splits:
        evaluate(model, clips["test"], "cpu")  # the initial model is tested
    for number in range(ROUNDS):
        for clips in splits:
            evaluate(model, clips["val"], "cpu")
            local_trainer(model, clips["train"], settings, "cpu", number).train()
    for split in ("val", "test"):  # the last model is validated, the best one tested
        for clips in splits:
            evaluate(model, clips[split], "cpu")
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
