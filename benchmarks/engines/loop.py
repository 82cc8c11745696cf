"""`python -m benchmarks.engines.loop TUNING`: what a simulation does, in one process.

It keeps what a simulation's worker keeps: shards that were opened, the model, and libraries that no garbage
collection looks through.
"""

from __future__ import annotations

import functools
import gc
import json
import sys
import time

import numpy as np

from benchmarks.engines.rounds import CLIENTS, ROUNDS, SHARE, options_of_rounds
from superb_ks.collaborator.shard_data import open_shard
from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.schedule import RoundSchedule
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer
from superb_shard_descriptor import SuperbShardDescriptor


def loop_seconds(tuning: str) -> list[float]:
    """Train and validate as the simulation's clients do, one after the other; all rounds but the first."""
    clips = functools.cache(lambda rank: open_shard(of_rank(int(rank)), spec.feature_extractor()))
    settings = options_of_rounds(tuning).settings
    of_rank = SuperbShardDescriptor.of_all_ranks(CLIENTS, speakers=CLIENTS)
    spec = ModelSpec.of(settings, of_rank(1).labels).sealed()
    model = spec.build()
    gc.collect()
    gc.freeze()
    vector, seconds = pack(model), []
    ranks = [f"{rank:0{len(str(CLIENTS))}d}" for rank in range(1, CLIENTS + 1)]
    schedule = RoundSchedule(ROUNDS, SHARE, settings.seed)
    for number in range(ROUNDS):
        started, updates = time.monotonic(), []
        for rank in schedule.trainers(ranks, 0):
            unpack(vector, model)
            evaluate(model, clips(rank)["val"], "cpu")
        for rank in schedule.trainers(ranks, number):
            unpack(vector, model)
            local_trainer(model, clips(rank)["train"], settings, "cpu", number).train()
            updates.append(pack(model))
        vector = np.mean(updates, axis=0)
        seconds.append(time.monotonic() - started)
    return seconds[1:]


if __name__ == "__main__":
    print(json.dumps(loop_seconds(sys.argv[1])))
