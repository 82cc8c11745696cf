"""A warm round: simulated, in a plain loop, and by the usual Flower app.

Ten of 200 clients train, and ten validate, on the synthetic speech of 200 speakers, dealt out at random.
`make simulate` does it; so does a loop over the same clients in one process that has all cores; so does an
app that builds its model and opens its data in every message. All weights are trained, or the head alone. The
first round of each, in which libraries and data are read, is left out.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.engines.simulated import simulate
from demo.speech import make_synthetic_speech
from simulation.engine import Engine
from simulation.options import Options, parse_options

ROOT = Path(__file__).resolve().parents[2]
USUAL = ROOT / "benchmarks" / "usual_flower_app"
CLIENTS, DRAWN, ROUNDS = 200, 10, 3
TUNINGS = ("full", "head")
SHARE = DRAWN / CLIENTS
# The most times the loop's seconds; the least times ours that the usual app takes.
MAX_TO_LOOP, MIN_USUAL = 1.25, 3.0


def options_of_rounds(tuning: str) -> Options:
    """Return what the simulation of the rounds is asked for."""
    given = {"clients": CLIENTS, "fraction": SHARE, "evaluate": SHARE, "rounds": ROUNDS, "partition": "iid"}
    given["tuning"] = tuning
    return parse_options([f"--{name}={value}" for name, value in given.items()])


def round_figures(tuning: str, repeats: int) -> dict[str, Any]:
    """Return the seconds of a warm round, each way, and their ratios."""
    make_synthetic_speech(0, "--speakers", str(CLIENTS))
    ways = {"simulated": simulated_seconds, "loop": seconds_of_a_loop, "usual": usual_seconds}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(repeats):
        for way in list(ways) if number % 2 == 0 else list(reversed(ways)):
            seconds[way] += [round(each, 2) for each in ways[way](tuning)]
            print(tuning, way, seconds[way], flush=True)
    medians = {way: statistics.median(each) for way, each in seconds.items()}
    to_loop = round(medians["simulated"] / medians["loop"], 3)
    usual = round(medians["usual"] / medians["simulated"], 3)
    return {
        **{f"{way}_seconds": each for way, each in seconds.items()},
        **{f"{way}_median": round(each, 2) for way, each in medians.items()},
        "simulated_to_loop": to_loop,
        "usual_to_simulated": usual,
        "good": to_loop <= MAX_TO_LOOP and usual >= MIN_USUAL,
    }


def simulated_seconds(tuning: str) -> list[float]:
    """Return the seconds of the rounds of `make simulate` that train and validate, but for the first."""
    return [
        record["metric_value"]
        for record in simulate(options_of_rounds(tuning)).records
        if record["task_name"] == "round" and 1 <= record["round"] < ROUNDS
    ]


def usual_seconds(tuning: str) -> list[float]:
    """Return the seconds of the usual app's rounds, but for the first."""
    with tempfile.TemporaryDirectory() as folder:
        output, workers = Path(folder) / "seconds.json", options_of_rounds(tuning).workers
        config = {"speakers": CLIENTS, "rounds": ROUNDS, "fraction": SHARE, "tuning": tuning}
        with Engine(Path(folder) / "flower", Path(folder), CLIENTS, workers) as engine:
            for _ in engine.run(
                {**config, "output": str(output), "envoy-folder": str(ROOT / "envoy")}, USUAL
            ):
                pass
            if not output.exists():
                raise RuntimeError(f"the usual app failed:\n{engine.log_tail()}")
        return list(json.loads(output.read_text(encoding="utf-8")))[1:]


def seconds_of_a_loop(tuning: str) -> list[float]:
    """Let a process of its own do the loop, which has all cores."""
    command = [sys.executable, "-m", "benchmarks.engines.loop", tuning]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return list(json.loads(done.stdout))
