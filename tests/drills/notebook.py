"""Drills in which something happens to the notebook."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from superb_notebook.connect import connect
from superb_notebook.experiment import attach, list_experiments
from tests.drills.drill import drill
from tests.support.lab import ROOT, Lab, follow, wait_until
from tests.support.sine_experiment import Script

# What a notebook does before its kernel dies: it submits, and follows the first records.
SUBMIT = """
import sys; sys.path.insert(0, {workspace!r})
from superb_notebook.experiment import FederatedExperiment
from superb_notebook.connect import connect
from superb_ks.settings import Addresses, Settings
from tests.support.sine_experiment import Script, sine_model, sine_shard, sine_tasks
script = Script(seconds={seconds})
addresses = Addresses(director_port={director}, aggregator_port={aggregator})
settings = Settings(addresses=addresses, rounds={rounds})
experiment = FederatedExperiment(connect(settings), {name!r})
experiment.start(model=sine_model(script), tasks=sine_tasks(script),
                 shard=sine_shard(script), settings=settings)
for record in experiment.records():
    print(record["round"], flush=True)
"""


@drill("kernel restarted; two viewers", quick=True)
def kernel_restart(lab: Lab) -> str:
    """`attach` shows the whole history, follows on, and fetches the model; two viewers see the same."""
    name, rounds = lab.new_name(), 12
    source = SUBMIT.format(
        workspace=str(ROOT / "workspace"),
        name=name,
        seconds=dict.fromkeys(lab.ranks, 0.5),
        rounds=rounds,
        director=lab.director_port,
        aggregator=lab.aggregator_port,
    )
    kernel = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    reached_round_1 = threading.Event()
    watcher = threading.Thread(target=_watch, args=(kernel, reached_round_1))
    watcher.start()
    try:
        assert reached_round_1.wait(60), "the first kernel never saw a record of round 1"
    finally:
        kernel.kill()
        kernel.wait()
        watcher.join()
        kernel.stdout.close()

    experiments = [attach(connect(lab.settings()), name) for _ in range(2)]
    assert experiments[0].status() == "in_progress"
    with ThreadPoolExecutor(2) as viewers:
        first, second = viewers.map(follow, experiments)
    assert first.status == "finished", first.error
    assert first.records == second.records
    for envoy in lab.envoy_names:
        assert first.rounds("train", envoy) == list(range(rounds))
    best = experiments[0].best_weights()
    assert np.isfinite(best).all()
    assert best.shape == first.weights.shape
    assert attach(connect(lab.settings()), name).status() == "finished"
    later = follow(attach(connect(lab.settings()), name))
    assert later.records == first.records, "after the end another history is told"
    return f"both viewers saw the same {len(first.records)} records, from the first on, and fetched the model"


def _watch(kernel: subprocess.Popen[str], reached: threading.Event) -> None:
    for line in kernel.stdout or ():
        if line.strip() == "1":
            reached.set()


@drill("stop, list, remove", quick=True)
def stop_and_list(lab: Lab) -> str:
    """`stop()` ends an experiment within a round; `list_experiments` tells all of them."""
    experiment = lab.submit(Script(seconds=dict.fromkeys(lab.ranks, 1.0)), rounds=500)
    wait_until(lambda: experiment.status() == "in_progress", 30)
    experiment.stop()
    outcome = follow(experiment)
    assert outcome.status == "stopped", outcome.status
    listed = list_experiments(experiment.federation)
    assert listed[experiment.experiment_name] == "stopped"
    following = lab.run(rounds=1)
    assert following.status == "finished", following.error
    assert all(following.rounds("train", name) == [0] for name in lab.envoy_names)
    reached = max(record["round"] for record in outcome.records)
    return f"stopped in round {reached} of 500; {len(listed)} experiments listed"
