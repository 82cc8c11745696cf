"""Envoys whose clips come from the hub: what was mapped before a worker was confined is what it trains on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demo.federation import Federation
from superb_ks.settings import Addresses, Recipe, Settings
from superb_node.envoy import confinement
from superb_notebook.connect import connect, shard_cards, shared_labels
from superb_notebook.history import history_of
from superb_notebook.tasks import submit
from tests.support.superb_hub import hub_variables, superb_hub
from tests.support.superb_parquet import write_data_set

pytestmark = [pytest.mark.federation, pytest.mark.slow]


def test_a_round_on_clips_of_the_hub_ends_with_a_scored_model(tmp_path: Path) -> None:
    with superb_hub(write_data_set(tmp_path / "superb")) as hub:
        variables = {**hub_variables(hub.url, tmp_path / "home"), "OMP_NUM_THREADS": "1"}
        params = {"source": "hub"}
        running = Federation(tmp_path / "run", envoys=2, shard_params=params, environment=variables)
        running.start()
    try:  # without the hub: an experiment's code could not reach it either
        train_one_round(running)
    finally:
        running.stop()
    assert len(hub.transfers) == 3, "each file is fetched once for both envoys"


def train_one_round(running: Federation) -> None:
    addresses = Addresses(director_port=running.director_port, aggregator_port=running.aggregator_port)
    settings = Settings(rounds=1, recipe=Recipe(epochs_per_round=1), addresses=addresses)
    connection = connect(settings)
    cards = shard_cards(connection)
    assert {card["source"] for card in cards.values()} == {"hub"}
    experiment = submit(connection, settings, shared_labels(cards))
    history = history_of(experiment.records(), 1, running.envoy_names)
    assert experiment.status() == "finished"
    assert history.test.clips == 12  # 11 words and the row of silence, between the two
    assert np.isfinite(experiment.best_weights()).all()
    for name in running.envoy_names:
        log = running.processes[name].log_path.read_text()
        assert f"Authors' code runs in processes of its own; {confinement.possible()}" in log
