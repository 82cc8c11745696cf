"""Director and envoys by their own scripts: signals, folders, and the real clips."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from demo.federation import Federation
from superb_ks.model.spec import ModelSpec
from superb_notebook.connect import connect, shard_cards, shared_labels
from superb_notebook.experiment import FederatedExperiment
from superb_notebook.tasks import tutorial_tasks
from tests.support.lab import ROOT, Lab, follow

pytestmark = pytest.mark.federation
SHARED = ROOT.parent / "shared"


@pytest.mark.parametrize(
    ("signum", "shell"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_signals_end_director_and_envoy_as_a_shell_expects(tmp_path: Path, signum: int, shell: int) -> None:
    with Lab(tmp_path, envoys=1) as lab:
        for name in (lab.last, "director"):
            code, seconds = lab.stop_service(name, signum)
            assert (128 - code if code < 0 else code) == shell, lab.log(name)
            assert seconds < 5
            assert lab.work_left(name) == []
            assert "Traceback" not in lab.log(name)


def test_a_taken_port_ends_the_director_with_one_line(lab: Lab) -> None:
    """That of another director of this account, which goes on; also where programs differ in TMPDIR."""
    result = subprocess.run(
        ["bash", "start_director.sh"], cwd=ROOT / "director", env={**lab._variables(), "TMPDIR": "/var/tmp"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert f"cannot listen on localhost:{lab.director_port} (Address already in use)" in line
    assert lab.registered() == set(lab.envoy_names)


def test_a_shard_of_another_shape_is_refused(lab: Lab) -> None:
    name, folder = "env_other", lab.nodes_dir / "env_other"
    import shutil

    import yaml

    shutil.copytree(lab.nodes_dir / lab.first, folder, ignore=shutil.ignore_patterns("work"))
    config = yaml.safe_load((folder / "envoy_config.yaml").read_text())
    config["shard_descriptor"]["params"]["sample_shape"] = "8000"
    (folder / "envoy_config.yaml").write_text(yaml.safe_dump(config))
    result = subprocess.run(
        ["bash", "start_envoy.sh", name], cwd=folder, env=lab._variables(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == os.EX_TEMPFAIL
    assert "the director refused shard env_other: sample_shape ['8000']" in result.stderr


def test_an_envoy_started_twice_from_one_folder(lab: Lab) -> None:
    result = subprocess.run(
        ["bash", "start_envoy.sh", lab.first], cwd=lab.nodes_dir / lab.first, env=lab._variables(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert f"an envoy named {lab.first} already runs from this folder" in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the sample of real clips is not at shared/ next to the repository"
)
def test_real_clips_through_the_real_descriptor(tmp_path: Path) -> None:
    params = {
        "source": "folder",
        "data_dir": str(SHARED / "speech_commands_v0.01"),
        "test_dir": str(SHARED / "speech_commands_test_set_v0.01"),
        "rank_worldsize": "1, 24",
    }
    with Federation(tmp_path, envoys=1, shard_params=params) as federation:
        outcome, cards, spec = real_experiment(federation)
        assert outcome.status == "finished", outcome.error
        assert cards["env_one"]["source"] == "folder"
        clips = sum(cards["env_one"]["clips"]["test"].values())
        pooled = {r["metric_name"]: r["metric_value"] for r in outcome.of("test_best", "aggregator")}
        assert pooled["clips"] == clips
        cells = [
            r["metric_value"]
            for r in outcome.of("test_best", "aggregator")
            if "confusion" in r["metric_name"]
        ]
        assert sum(cells) == clips
        assert outcome.weights is not None
        assert len(spec.labels) == 12


def real_experiment(federation: Federation):
    """Run one round of the tiny model on the federation, with the notebook's own tasks."""
    from superb_ks.settings import Addresses, Recipe, Settings

    settings = Settings(
        addresses=Addresses(
            director_port=federation.director_port, aggregator_port=federation.aggregator_port
        ),
        rounds=1,
        recipe=Recipe(epochs_per_round=1),
    )
    connection = connect(settings)
    cards = shard_cards(connection)
    spec = ModelSpec("scratch", shared_labels(cards), 0).sealed()
    experiment = FederatedExperiment(connection, "real-clips")
    experiment.start(model=spec, tasks=tutorial_tasks(settings), settings=settings)
    return follow(experiment), cards, spec
