"""What an update costs by tuning, and the strategies, as tables."""

from dataclasses import replace

import pytest

from superb_ks.model.packing import pack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import STRATEGIES, SUPERB_LABELS, FedProx, FedYogi, Full, Head, Lora, Settings
from superb_notebook.choices import strategies_table, tunings_table, update_sizes


@pytest.fixture(scope="module")
def settings(base_folder) -> Settings:
    return Settings(model=str(base_folder), tuning=Lora(rank=4), strategy=FedYogi(), rounds=5)


def test_sizes_are_those_of_what_is_sent(settings: Settings) -> None:
    sizes = {size.tuning: size for size in update_sizes(settings, SUPERB_LABELS)}
    assert list(sizes) == [Full(), Lora(rank=4), Head()]
    for tuning, size in sizes.items():
        model = replace(ModelSpec.of(settings, SUPERB_LABELS), tuning=tuning).build()
        assert size.nbytes == pack(model).nbytes
        assert size.parameters == sum(p.numel() for p in model.parameters())


def test_a_model_from_random_weights_is_trained_whole() -> None:
    settings = Settings(model="scratch", rounds=2)
    (size,) = update_sizes(settings, SUPERB_LABELS)
    assert size.trained == size.parameters
    table = tunings_table([size], settings)
    megabytes = 4 * size.trained / 1e6
    assert table.rows == [
        ["full", "everything", f"{size.trained:,}", "100.0%", f"{megabytes:.2f}", f"{2 * megabytes:.2f}"]
    ]


def test_the_chosen_tuning_and_strategy_are_bold(settings: Settings) -> None:
    tunings = tunings_table(update_sizes(settings, SUPERB_LABELS), settings)
    assert tunings.bold is not None and tunings.rows[tunings.bold][0] == "lora"
    strategies = strategies_table(settings)
    assert strategies.bold is not None and strategies.rows[strategies.bold][0] == "fedyogi"


def test_every_strategy_has_a_row_with_its_parameters() -> None:
    table = strategies_table(Settings(strategy=FedProx(mu=0.5)))
    assert [row[0] for row in table.rows] == list(STRATEGIES)
    parameters = {row[0]: row[2] for row in table.rows}
    assert parameters["fedavg"] == "–"
    assert parameters["fedprox"] == "mu=0.5"
    assert parameters["trimmed_mean"] == "fraction=0.2"
