"""A director and two envoys whose owners decide what runs: real processes, and the owners' own command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from superb_ks.experiment import Experiment
from superb_ks.settings import Failures
from superb_notebook.connect import FederationError
from tests.support.lab import Lab, Outcome, follow, wait_until
from tests.support.sine_experiment import ballast_after

pytestmark = [pytest.mark.federation, pytest.mark.timeout(600)]
SECONDS = 120


def configure(file: Path, section: str, **settings: object) -> None:
    config = yaml.safe_load(file.read_text())
    config[section].update(settings)
    file.write_text(yaml.safe_dump(config))


def owner(lab: Lab, node: str, *words: str) -> str:
    """Run the command of a node's owner in the node's folder; returns what it printed."""
    result = subprocess.run(
        ["bash", "review.sh", *words], cwd=lab.nodes_dir / node, env=lab._variables(),
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    return result.stdout + result.stderr


def when_it_waits(lab: Lab, node: str, name: str, *words: str) -> None:
    """Answer for the owner of a node as soon as an experiment waits there."""
    file = next(iter((lab.nodes_dir / node).glob("approval/*")), None)
    folder = file or lab.nodes_dir / node / "approval" / node
    waiting = folder / "waiting" / f"{name}.json"
    wait_until(waiting.is_file, SECONDS)
    if words[0] == "approve":
        words = (*words, json.loads(waiting.read_text())["digest"])
    owner(lab, node, *words)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Director and second envoy ask their owners, the first envoy is open."""
    lab = Lab(tmp_path_factory.mktemp("approval"), envoys=2)
    configure(lab._root / "director" / "director_config.yaml", "settings", approval="manual")
    second = lab.nodes_dir / lab.last
    shutil.copytree(lab._root / "envoy", second)
    configure(second / "envoy_config.yaml", "params", approval="manual")
    with lab:
        yield lab


def run(lab: Lab, *answers: tuple[str, ...], **changes: object) -> Outcome:
    """Submit an experiment; each of the answers is given by the owner of its first word's node, in turn."""
    name = lab.new_name()
    experiment = lab.submit(name=name, **changes)

    def answer() -> None:
        for node, action, *more in answers:
            when_it_waits(lab, node, name, action, name, *more)

    owners = threading.Thread(target=answer)
    owners.start()
    outcome = follow(experiment)
    owners.join(SECONDS)
    return outcome


def digest_in(text: str) -> str:
    return text.rpartition("digest ")[2][:64]


def test_it_runs_once_both_owners_have_approved(gated: Lab) -> None:
    outcome = run(gated, ("director", "approve"), (gated.last, "approve"))
    assert outcome.status == "finished", outcome.error
    waited = outcome.of("waiting")
    assert [record["metric_origin"] for record in waited] == ["director", gated.last]
    digests = {digest_in(record["metric_name"]) for record in waited}
    assert len(digests) == 1
    assert outcome.rounds("train", gated.last) == [0, 1]
    assert abs(outcome.ballast - ballast_after([[1, 2], [1, 2]])) < 1e-5
    for name in ("director", gated.last):
        log = gated.log(name)
        assert "approval: manual" in log
        assert f"digest {min(digests)}" in log and "of notebook" in log
        assert "Tasks: the only code of the experiment" in log
        assert "   1  " in log and "def train(model, shard, device, optimizer, round_num):" in log
    assert "approval: open" in gated.log(gated.first)
    assert owner(gated, gated.last) == ""


def test_the_others_go_on_without_an_envoy_whose_owner_rejects(gated: Lab) -> None:
    answers = ("director", "approve"), (gated.last, "reject", "--reason", "not this week")
    outcome = run(gated, *answers, rounds=1, failures=Failures(on_task_error="fail"))
    assert outcome.status == "finished", outcome.error
    reason = f"rejected by the owner of {gated.last}: not this week"
    assert outcome.text("dropped") == f"round 0, {gated.last}: {reason}"
    assert outcome.rounds("train", gated.last) == []
    assert abs(outcome.ballast - ballast_after([[1]])) < 1e-5
    # Compared with the first experiment, which was approved last: fewer rounds.
    log = gated.log(gated.last)
    assert re.search(r'\n.*-  "rounds": 2,\n.*\+  "rounds": 1,\n', log)


def test_nothing_runs_of_what_an_owner_rejects_and_nothing_at_all_on_the_director(gated: Lab) -> None:
    def set_trap(text: bytes) -> bytes:
        experiment = Experiment.read(text)
        trap = "print('the trap' + ' was set off', flush=True)\n"
        lines = experiment.tasks.replace("from __future__ import annotations\n", "")
        return replace(experiment, tasks=f"from __future__ import annotations\n{trap}{lines}").to_bytes()

    outcome = run(gated, ("director", "reject"), on_the_way=set_trap)
    assert outcome.status == "rejected"
    assert "rejected. director: rejected by the director's owner" in outcome.error
    logs = {name: gated.log(name) for name in ("director", *gated.envoy_names)}
    assert not [name for name, log in logs.items() if "the trap was set off" in log]
    # The same trap is set off on the envoys, where it is let in: the test would see it.
    outcome = run(gated, ("director", "approve"), (gated.last, "reject"), on_the_way=set_trap, rounds=1)
    assert outcome.status == "finished", outcome.error
    logs = {name: gated.log(name) for name in ("director", *gated.envoy_names)}
    assert [name for name, log in logs.items() if "the trap was set off" in log] == [gated.first]


def test_only_what_is_on_the_lists_runs(gated: Lab) -> None:
    for name, section in (("director", "settings"), (gated.last, "params")):
        folder = gated.nodes_dir / name
        (folder / "approved_digests.txt").write_text("# none yet\n")
        file = next(folder.glob("*_config.yaml"))
        configure(file, section, approval="digest")
    restart(gated, "director", gated.last)
    assert "approval: digest" in gated.log("director")

    with pytest.raises(FederationError, match="is not on the list of the director's owner") as refused:
        gated.submit(rounds=1)
    digest = digest_in(str(refused.value).replace(" is not on", ""))
    (gated.nodes_dir / "director" / "approved_digests.txt").write_text(f"{digest}\n")

    outcome = gated.run(rounds=1)
    assert outcome.status == "finished", outcome.error
    assert outcome.text("dropped") == (
        f"round 0, {gated.last}: digest {digest} is not on the list of the owner of {gated.last}"
    )
    (gated.nodes_dir / gated.last / "approved_digests.txt").write_text(f"{digest}\n")
    outcome = gated.run(rounds=1)
    assert outcome.status == "finished", outcome.error
    assert outcome.rounds("train", gated.last) == [0]


def restart(lab: Lab, *names: str) -> None:
    """Start services again with what their configs now say; returns when all envoys are registered."""
    before = {name: lab.registrations(name) for name in lab.envoy_names}
    for name in names:
        lab.stop_service(name)
        lab.restart(name)
    again = set(lab.envoy_names) if "director" in names else set(names)
    wait_until(lambda: all(lab.registrations(name) > before[name] for name in again), SECONDS)
    wait_until(lambda: set(lab.envoy_names) <= online(lab), SECONDS)


def online(lab: Lab) -> set[str]:
    import grpc

    try:
        return lab.registered()
    except grpc.RpcError:
        return set()


def test_ctrl_c_ends_an_envoy_whose_experiment_waits(gated: Lab) -> None:
    folder = gated.nodes_dir / gated.last
    configure(folder / "envoy_config.yaml", "params", approval="manual")
    restart(gated, gated.last)
    (gated.nodes_dir / "director" / "approved_digests.txt").write_text("# anything\n")
    with pytest.raises(FederationError) as refused:
        gated.submit(rounds=1)
    digest = digest_in(str(refused.value).replace(" is not on", ""))
    (gated.nodes_dir / "director" / "approved_digests.txt").write_text(f"{digest}\n")
    name = gated.new_name()
    experiment = gated.submit(name=name, rounds=1)
    wait_until(lambda: f"{name} of notebook" in owner(gated, gated.last), SECONDS)
    code, _ = gated.stop_service(gated.last, 2)
    outcome = follow(experiment)
    assert code in (-2, 130), gated.log(gated.last)
    assert outcome.status == "finished", outcome.error
    assert "stopped by its owner" in outcome.text("dropped")
    assert gated.work_left(gated.last) == []
    assert owner(gated, gated.last) == ""
