"""Adapters, or a head, of the pretrained tiny model through a real director and two real envoys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.federation import Federation
from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from superb_ks.model.packing import trainable_layout, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.model.tuning import merged
from superb_ks.settings import Addresses, Recipe, Settings, tuning_named
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_notebook.clips import reachable_clips
from superb_notebook.connect import connect, shard_cards, shared_labels
from superb_notebook.experiment import FederatedExperiment
from superb_notebook.history import history_of
from superb_notebook.local_data import own_folders
from superb_notebook.tasks import tutorial_tasks

pytestmark = [pytest.mark.federation, pytest.mark.slow]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    speech = tmp_path_factory.mktemp("speech")
    write_corpus(speech, seed=0, size=Size(12, 4, 4, 2, 2, 2))
    params = {
        "source": "folder",
        "data_dir": str(speech / "speech_commands_v0.01"),
        "test_dir": str(speech / "speech_commands_test_set_v0.01"),
    }
    folder = tmp_path_factory.mktemp("tunings")
    with Federation(folder, envoys=2, shard_params=params) as running:
        yield running


@pytest.mark.parametrize("tuning", ["lora", "head"])
def test_what_is_tuned_travels_and_the_merged_model_scores_as_the_federation_says(
    tuning: str, federation: Federation
) -> None:
    settings = Settings(
        addresses=Addresses(
            director_port=federation.director_port, aggregator_port=federation.aggregator_port
        ),
        tuning=tuning_named(tuning),
        rounds=2,
        recipe=Recipe(epochs_per_round=1),
    )
    connection = connect(settings)
    cards = shard_cards(connection)
    labels = shared_labels(cards)
    spec = ModelSpec.of(settings, labels).sealed()
    model = spec.build()
    experiment = FederatedExperiment(connection, f"tuning-{tuning}")
    experiment.start(model=spec, tasks=tutorial_tasks(settings), settings=settings)
    history = history_of(experiment.records(), settings.rounds, list(cards))
    assert history.bytes_up() == 4 * trainable_layout(model)[-1].stop

    own = own_folders(cards, federation.first_config)
    unpack(experiment.best_weights(), model)
    plain, clips = merged(model), reachable_clips(cards, labels, str(own.test))
    plain.requires_grad_(True)  # scored through the whole model, not through the cache
    scores = evaluate(plain, ClipDataset(clips, spec.feature_extractor()), "cpu")
    assert scores["clips"] == history.test.clips > 50
    assert scores["confusion"].trace() == history.test.correct
