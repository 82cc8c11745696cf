"""The tutorial's experiment on each engine: seconds of learning, and memory of a data owner's processes.

Director and envoys, SuperLink and SuperNodes are up while they take turns; a simulation starts its own. The
seconds run from the submission to the last record. Those of a simulation include the start of Ray, so `good`
compares the engines with services alone.
Memory is the largest sum of the proportional set sizes of the first envoy's processes, read twice a second in
a run of its own, because reading it takes time.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.by_hand import executed_by_the_demo
from benchmarks.engines.simulated import memory_of, simulate
from demo.__main__ import notebook_parameters
from demo.federation import Federation
from demo.flower_federation import FlowerFederation
from demo.options import Options
from demo.speech import make_synthetic_speech
from simulation.options import parse_options

ENVOYS, ROUNDS = 2, 3
SERVICES = {"openfl": Federation, "flower": FlowerFederation}
SIMULATED = "simulation"


def learning_figures(repeats: int) -> dict[str, Any]:
    """Return the seconds of each engine, the ratio of the medians, and the memory of an envoy in MiB."""
    make_synthetic_speech(0)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        started = {
            engine: stack.enter_context(kind(Path(folder, engine), envoys=ENVOYS))
            for engine, kind in SERVICES.items()
        }
        ways = [*SERVICES, SIMULATED]
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(repeats):
            for way in ways if number % 2 == 0 else reversed(ways):
                took = simulated_seconds() if way == SIMULATED else service_seconds(way, started[way])
                seconds[way].append(round(took, 1))
                print(way, seconds[way], flush=True)
        peaks = {}
        for engine, federation in started.items():
            with peak_of(federation.processes[federation.envoy_names[0]].pid) as peak:
                service_seconds(engine, federation)
            peaks[f"{engine}_envoy_mib"] = round(max(peak) / 2**20)
    medians = {way: statistics.median(each) for way, each in seconds.items()}
    ratios = {f"openfl_to_{way}": round(medians["openfl"] / medians[way], 3) for way in ways[1:]}
    return {
        **{f"{way}_seconds": each for way, each in seconds.items()},
        **{f"{way}_median": each for way, each in medians.items()},
        **ratios,
        **peaks,
        "good": ratios["openfl_to_flower"] <= 1,
    }


def service_seconds(engine: str, federation: Federation) -> float:
    """Run the notebook on services that are up; returns the seconds of learning."""
    with tempfile.TemporaryDirectory(dir=federation.nodes_dir.parent) as folder:
        options = Options(envoys=ENVOYS, settings={"ROUNDS": ROUNDS, "ENGINE": engine})
        parameters = notebook_parameters(options, federation, Path(folder))
        executed_by_the_demo({**parameters, "RUN_DIR": folder}, Path(folder))
        federation.check()
        return float(Path(folder, "seconds").read_text(encoding="utf-8"))


def simulated_seconds() -> float:
    """Run the same experiment as a simulation of as many clients; returns its seconds."""
    given = {"clients": ENVOYS, "fraction": 1.0, "rounds": ROUNDS, "partition": "iid"}
    options = parse_options([f"--{name}={value}" for name, value in given.items()])
    return simulate(options).seconds


@contextlib.contextmanager
def peak_of(group: int) -> Iterator[list[int]]:
    """Yield a list that fills with the memory of a process group, in bytes."""
    readings, done = [0], threading.Event()

    def read() -> None:
        while not done.wait(0.5):
            readings.append(memory_of({group}))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield readings
    finally:
        done.set()
        reader.join()
