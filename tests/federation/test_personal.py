"""Personal models on real federations: where they end up, who has them, and that nobody else needs them."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.federation import Federation
from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from superb_ks.collaborator.personal import save_pretrained
from superb_ks.model.folder import load_classifier
from superb_ks.settings import SUPERB_LABELS, Addresses, EarlyStopping, Recipe, Settings
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.types import Vector
from superb_node.envoy.config import EnvoyConfig, build_descriptor
from superb_node.envoy.personal import PERSONAL_FOLDER, load
from superb_notebook.connect import connect
from superb_notebook.history import history_of
from superb_notebook.personal import Personal, personal_models
from superb_notebook.tasks import submit
from tests.support.lab import Lab, at, follow, wait_until
from tests.support.sine_experiment import Script

pytestmark = [pytest.mark.federation, pytest.mark.timeout(600)]

ROUNDS = 2


@dataclass
class Run:
    """What one experiment came to: records, what each envoy has, and the best model."""

    name: str
    personal: dict[str, Personal]
    files: dict[str, Path]
    best: Vector


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Federation, list[Run]]]:
    """The same experiment twice, on two envoys that hold mostly different words."""
    folder = tmp_path_factory.mktemp("personal")
    write_corpus(folder / "speech", seed=0, size=Size(12, 4, 4, 2, 2, 2))
    params: dict[str, str | float] = {
        "source": "folder",
        "data_dir": str(folder / "speech" / "speech_commands_v0.01"),
        "test_dir": str(folder / "speech" / "speech_commands_test_set_v0.01"),
        "partition": "dirichlet",
        "alpha": 0.3,
    }
    variables = {"OMP_NUM_THREADS": "1"}
    with Federation(folder / "run", envoys=2, shard_params=params, environment=variables) as running:
        yield running, [run_on(running, f"personal-{number}") for number in range(2)]


def run_on(running: Federation, name: str) -> Run:
    addresses = Addresses(director_port=running.director_port, aggregator_port=running.aggregator_port)
    settings = Settings(
        rounds=ROUNDS,
        recipe=Recipe(epochs_per_round=2),
        personalise=True,
        addresses=addresses,
        experiment_name=name,
    )
    experiment = submit(connect(settings), settings, SUPERB_LABELS)
    history = history_of(experiment.records(), ROUNDS, running.envoy_names)
    assert experiment.status() == "finished"
    files = {
        each: running.nodes_dir / each / PERSONAL_FOLDER / each / f"{name}.npz" for each in history.envoys
    }
    personal = personal_models(history)
    wait_until(lambda: all(files[each].exists() for each in personal if personal[each].kept), 30)
    return Run(name, personal, files, experiment.best_weights())


def test_each_envoy_has_a_file_if_and_only_if_its_own_validation_gained(
    runs: tuple[Federation, list[Run]],
) -> None:
    running, (run, _) = runs
    assert len(run.personal) == 2
    for name, personal in run.personal.items():
        assert personal.validation is not None and personal.test is not None
        before, after = personal.validation
        assert personal.kept == (after.correct > before.correct)
        assert run.files[name].exists() == personal.kept
        log = running.processes[name].log_path.read_text()
        what = "personal" if personal.kept else "federated"
        assert f"; the {what} model is kept" in log
        assert (f"The personal model is kept in {run.files[name]}" in log) == personal.kept
    assert any(personal.kept for personal in run.personal.values()), "the shards are too alike to tell"


def test_the_file_is_the_owners_alone_and_holds_the_model_that_was_scored(
    runs: tuple[Federation, list[Run]], tmp_path: Path
) -> None:
    running, (run, _) = runs
    name = next(name for name, personal in run.personal.items() if personal.kept)
    assert stat.S_IMODE(run.files[name].stat().st_mode) == 0o600
    experiment, weights = load(run.files[name])
    assert experiment.settings.personalise and weights.shape == run.best.shape
    assert (weights != run.best).any()
    save_pretrained(experiment, weights, tmp_path / "own")
    model = load_classifier(tmp_path / "own")
    descriptor = build_descriptor(EnvoyConfig.load(running.nodes_dir / name / "envoy_config.yaml"))
    for split, pair in (("val", run.personal[name].validation), ("test", run.personal[name].test)):
        clips = ClipDataset(descriptor.get_dataset(split), model.feature_extractor)
        scores = evaluate(model.model, clips, "cpu")
        assert pair is not None
        assert (scores["confusion"].trace(), scores["clips"]) == (pair[1].correct, pair[1].clips)


def test_the_director_has_the_federations_models_and_no_other(runs: tuple[Federation, list[Run]]) -> None:
    running, (run, _) = runs
    kept = sorted(path.name for path in (running.nodes_dir / "director" / "experiments" / run.name).iterdir())
    assert sum(name.endswith(".safetensors") for name in kept) <= 2, kept  # the last and the best


def test_the_same_seed_gives_the_same_personal_models(runs: tuple[Federation, list[Run]]) -> None:
    one, two = runs[1]
    assert one.personal == two.personal
    assert (one.best == two.best).all()
    for name, personal in one.personal.items():
        if personal.kept:
            assert (load(one.files[name])[1] == load(two.files[name])[1]).all()


# On sine waves -----------------------------------------------------------------------------------------


def test_a_run_that_stopped_early_and_was_resumed_personalises_too(lab: Lab) -> None:
    slowly, name = Script(seconds=dict.fromkeys(lab.ranks, 0.3)), lab.new_name()
    settings = {"rounds": 30, "early_stopping": EarlyStopping(patience=4), "personalise": True}
    experiment = lab.submit(slowly, name=name, **settings)
    lab.crash_director(experiment, at(3, lab.first, "train"))
    outcome = follow(lab.submit(slowly, name=name, resume=True, **settings))
    assert outcome.status == "finished", outcome.error
    (last,) = outcome.rounds("stopped_early", "aggregator")
    for envoy in lab.envoy_names:
        assert outcome.rounds("personalise", envoy) == [last + 3]
    assert set(personal_models(history_of(outcome.records, 30, lab.envoy_names))) == set(lab.envoy_names)


def test_an_envoy_that_fails_when_each_personalises_is_missing_and_that_is_all(lab: Lab) -> None:
    outcome = lab.run(Script(raises={2: (ROUNDS,)}), rounds=ROUNDS, personalise=True)
    assert outcome.status == "finished", outcome.error
    assert "rank 2 cannot train in round 2" in outcome.text("dropped")
    assert set(personal_models(history_of(outcome.records, ROUNDS, lab.envoy_names))) == {lab.first}
    assert outcome.rounds("test_best", lab.last) == [ROUNDS + 1]


def test_an_envoy_that_dies_when_each_personalises_is_missing_and_that_is_all(lab: Lab) -> None:
    slowly = Script(seconds={1: 0.5, 2: 5.0})
    killed = (at(2, lab.last, "test_best"), lambda: lab.kill(lab.last))
    outcome = lab.run(slowly, killed, rounds=1, personalise=True)
    lab.heal()
    assert outcome.status == "finished", outcome.error
    assert set(personal_models(history_of(outcome.records, 1, lab.envoy_names))) == {lab.first}
