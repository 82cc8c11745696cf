"""Who is refused by the real services, with mutual TLS, while an experiment runs that must not feel it.

One federation and one experiment for all tests here: its last round of training waits until they are over.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml
from openfl.protocols import aggregator_pb2, director_pb2, director_pb2_grpc

from certificates.authority import issue, new_authority
from certificates.federation import make_certificates
from certificates.folder import pair_in, publish
from superb_ks.collaborator.aggregator_client import AggregatorStub
from superb_ks.settings import Settings
from superb_ks.transport import messages
from superb_node.approval.gate import Gate as OwnersGate
from superb_node.approval.settings import GateSettings
from superb_node.certificates import ROOT_CERTIFICATE
from superb_node.envoy.envoy import Envoy
from superb_node.envoy.refusals import ShardRefused
from superb_notebook.connect import FederationError, connect
from superb_notebook.experiment import FederatedExperiment, attach, list_experiments
from tests.fuzz.live import experiment_id
from tests.support.earlier import days_ago
from tests.support.lab import Outcome, follow, wait_until
from tests.support.sine_descriptor import SineShardDescriptor
from tests.support.sine_experiment import Gate, Script
from tests.support.tls_lab import HERE, TlsLab, channel_credentials

pytestmark = [pytest.mark.federation, pytest.mark.timeout(600)]

ROUNDS = 10
DENIED, UNAVAILABLE = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE
# gRPC's own words in the director's log; docs/troubleshooting.md explains them.
NO_CERTIFICATE = ("PEER_DID_NOT_RETURN_A_CERTIFICATE",)
NOT_OURS = ("CERTIFICATE_VERIFY_FAILED", "BAD_SIGNATURE")


@dataclasses.dataclass
class Siege:
    """A running experiment, and what intruders have."""

    lab: TlsLab
    folder: Path
    experiment: FederatedExperiment
    gate: Path
    outcome: Outcome = dataclasses.field(default_factory=Outcome)

    @property
    def name(self) -> str:
        """The running experiment's."""
        return self.experiment.experiment_name

    @property
    def ports(self) -> tuple[int, int]:
        """The director's and the aggregator's."""
        return self.lab.director_port, self.lab.aggregator_port

    def certificates(self, name: str) -> Path:
        """Return the folder of a node's certificates, or of one that an intruder made."""
        ours = self.lab.certificates / name
        return ours if ours.is_dir() else self.folder / name

    def settings_of(self, name: str) -> Settings:
        """Return the settings of somebody who shows the certificate of `name`."""
        return self.lab.settings(addresses=self.lab.addresses(certificates=str(self.certificates(name))))

    def channel(self, port: int, name: str | None) -> grpc.Channel:
        """Return a line to a service with the certificate of `name`, or with none."""
        root = (self.certificates("notebook") / ROOT_CERTIFICATE).read_bytes()
        own = (
            grpc.ssl_channel_credentials(root)
            if name is None
            else channel_credentials(self.certificates(name))
        )
        return grpc.secure_channel(f"localhost:{port}", own)

    def director(self, name: str, method: str, request: Any) -> grpc.RpcError:
        """Call the director with the certificate of `name`; returns how it was refused."""
        with self.channel(self.ports[0], name) as channel:
            return refusal(lambda: answer(getattr(director_pb2_grpc.DirectorStub(channel), method)(request)))

    def aggregator(self, name: str, method: str, request: Any) -> grpc.RpcError:
        """Call the aggregator with the certificate of `name`, as one who knows the experiment's id."""
        return self.call_aggregator(name, method, request, experiment_id(self.lab, self.name))

    def call_aggregator(self, name: str, method: str, request: Any, shown: str) -> grpc.RpcError:
        """Call the aggregator, showing it an id; returns how the call was refused."""
        with self.channel(self.ports[1], name) as channel:
            return refusal(lambda: getattr(AggregatorStub(channel, shown), method)(request))

    def envoy(self, name: str, certificates: str | None) -> str:
        """Start an envoy, as its start script does, in this process; returns why it gave up."""
        files = ("root_certificate", "private_key", "certificate")
        folder = None if certificates is None else self.certificates(certificates)
        envoy = Envoy(
            gate=OwnersGate(GateSettings(), f"the owner of {name}", self.folder / "approval"),
            template=None,  # it runs nothing
            personal=self.folder,
            shard_name=name,
            director_host="localhost",
            director_port=self.ports[0],
            shard_descriptor=SineShardDescriptor(),
            tls=folder is not None,
            install_requirements=False,
            **({} if folder is None else {each: folder / f"{each}.pem" for each in files}),
        )
        with pytest.raises(ShardRefused) as refused:
            envoy.start()
        return str(refused.value)

    def must_have_logged(self, pattern: str) -> None:
        """Check that the director has told of a refusal, in words that match `pattern`."""
        log = self.lab.log("director")
        assert re.search(pattern, log), log

    def shut_out(self, name: str | None, words: tuple[str, ...]) -> None:
        """Call both services; neither answers, and the log has a new line with one of `words`."""
        for port in self.ports:
            seen = len(self.lab.log("director"))
            with self.channel(port, name) as channel:
                call = channel.unary_unary("/openfl.director.Director/GetEnvoys")
                assert refusal(partial(call, b"", timeout=20)).code() is UNAVAILABLE
            wait_until(partial(self._was_logged, words, seen), 60)

    def _was_logged(self, words: tuple[str, ...], seen: int) -> bool:
        return any(word in self.lab.log("director")[seen:] for word in words)


def answer(reply: Any) -> Any:
    """Read a reply to its end, if it is a stream."""
    return list(reply) if hasattr(reply, "__iter__") else reply


def refusal(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    return refused.value


def as_sender(name: str) -> Any:
    return aggregator_pb2.GetTasksRequest(header=aggregator_pb2.MessageHeader(sender=name))


def upload_of(name: str) -> Iterator[bytes | memoryview]:
    """Yield a faultless upload of another model, in the name of `name`."""
    head = aggregator_pb2.TaskResults(
        header=aggregator_pb2.MessageHeader(sender=name), round_number=1, task_name="train", data_size=1000
    )
    return messages.upload(head, np.full(100_771, 7.0, np.float32))


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    folder = tmp_path_factory.mktemp("refusals")
    lab = TlsLab(folder, envoys=2, health_seconds=30)
    lab.ready_seconds = 400.0
    config = lab._root / "director" / "director_config.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["settings"]["envoys"] = lab.envoy_names
    config.write_text(yaml.safe_dump(settings))
    make_certificates(lab.certificates, user="rival", envoys=["env_three"])
    ours = pair_in(lab.certificates / "authority")
    with days_ago(9):
        publish(folder / "expired", issue(ours, "envoy", "env_one", days=1), ours.certificate)
    # Of another authority; it trusts ours, so that it finds nothing wrong with the director.
    publish(folder / "foreign", issue(new_authority(), "envoy", "env_one"), ours.certificate)
    with lab:
        gate = folder / "gate"
        script = Script(gate=Gate(str(gate), last_round=ROUNDS - 1))
        siege = Siege(lab, folder, lab.submit(script, name="besieged", rounds=ROUNDS), gate)
        follower = threading.Thread(target=lambda: setattr(siege, "outcome", follow(siege.experiment)))
        follower.start()
        wait_until(lambda: "Experiment besieged starts" in lab.log("director"), 60)
        yield siege
        gate.touch()
        follower.join(200)


@pytest.fixture(autouse=True)
def the_experiment_runs(siege: Siege) -> Iterator[None]:
    assert siege.experiment.status() == "in_progress"
    yield
    if not siege.gate.exists():
        assert siege.experiment.status() == "in_progress"
        siege.lab.check()


def test_1_no_certificate(siege: Siege) -> None:
    siege.shut_out(None, NO_CERTIFICATE)
    assert siege.envoy("env_one", None).endswith(": it speaks TLS only, and we speak without")
    with pytest.raises(FederationError, match=r"no director answers at .*\. Something at .* speaks TLS"):
        connect(siege.lab.settings(addresses=siege.lab.addresses(certificates=None)))


def test_2_a_certificate_of_another_authority(siege: Siege) -> None:
    siege.shut_out("foreign", NOT_OURS)
    assert siege.envoy("env_one", "foreign").endswith(": another authority signed our certificate")


def test_3_an_expired_certificate(siege: Siege) -> None:
    siege.shut_out("expired", NOT_OURS)
    assert ": our certificate expired on " in siege.envoy("env_one", "expired")


def test_4_an_envoy_whose_name_is_not_its_certificates(siege: Siege) -> None:
    why = siege.envoy("env_two", "env_one")
    assert why == ("the director refused: UpdateShardInfo of envoy 'env_one': it calls itself 'env_two'")
    siege.must_have_logged(f"Refused UpdateShardInfo of envoy 'env_one'{HERE}: ")
    for method, request in (
        ("UpdateEnvoyStatus", director_pb2.UpdateEnvoyStatusRequest(name="env_two")),
        ("WaitExperiment", director_pb2.WaitExperimentRequest(collaborator_name="env_two")),
        ("GetExperimentData", archive_for(siege, "env_two")),
        ("SetExperimentFailed", failure_of(siege, "env_two", 1)),
    ):
        refused = siege.director("env_one", method, request)
        assert (refused.code(), refused.details()) == (
            DENIED, f"{method} of envoy 'env_one': it calls itself 'env_two'"
        )  # fmt: skip
    for method, request in (
        ("GetTasks", as_sender("env_two")),
        ("SendLocalTaskResults", upload_of("env_two")),
    ):
        refused = siege.aggregator("env_one", method, request)
        assert refused.code() is DENIED
        assert refused.details() == f"{method} of spiffe://superb-ks/envoy/env_one: it calls itself 'env_two'"
    wait_until(lambda: "Refused SendLocalTaskResults of spiffe" in siege.lab.log("director"), 10)


def test_4_an_enrolled_envoy_without_the_experiments_id(siege: Siege) -> None:
    """Its certificate alone is not enough: the id is told with the experiment."""
    for shown in ("", "another"):
        refused = siege.call_aggregator("env_one", "GetTasks", as_sender("env_one"), shown)
        assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
        assert refused.details() == "the call does not show the experiment's id"
    wait_until(lambda: ": the call does not show the experiment's id" in siege.lab.log("director"), 10)


def test_5_an_envoy_that_is_not_on_the_directors_list(siege: Siege) -> None:
    """It is told in one line, and ends; nor has it a part in what runs."""
    folder = siege.lab.nodes_dir / "env_three"
    shutil.copytree(siege.lab._root / "envoy", folder)
    started = subprocess.run(
        ["bash", "start_envoy_with_tls.sh", "env_three", "localhost"], cwd=folder, env=siege.lab._variables(),
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert started.returncode == os.EX_TEMPFAIL  # systemd starts it again
    assert started.stderr.splitlines()[-1] == (
        "envoy: the director refused: UpdateShardInfo of envoy 'env_three': "
        "it is not on the director's list of envoys"
    )
    assert "Traceback" not in started.stderr
    waits = director_pb2.WaitExperimentRequest(collaborator_name="env_three")
    assert siege.director("env_three", "WaitExperiment", waits).code() is DENIED
    for method, request in (
        ("GetTasks", as_sender("env_three")),
        ("SendLocalTaskResults", upload_of("env_three")),
    ):
        refused = siege.aggregator("env_three", method, request)
        assert refused.code() is DENIED
        assert refused.details() == f"{method} of spiffe://superb-ks/envoy/env_three: it is not enrolled"
    siege.must_have_logged(f"'env_three'{HERE}: ")


def test_6_a_second_envoy_with_a_name_that_is_online(siege: Siege) -> None:
    assert "an envoy named 'env_two' takes part already" in siege.envoy("env_two", "env_two")
    assert ": an envoy named 'env_two' takes part already" in siege.lab.log("director")


def test_7_an_envoys_certificate_submits_nothing(siege: Siege) -> None:
    with pytest.raises(FederationError, match=r"refused: GetDatasetInfo of envoy 'env_one': .* for users"):
        connect(siege.settings_of("env_one"))
    for method, request in (
        ("SetNewExperiment", iter([director_pb2.ExperimentInfo(name="evil")])),
        ("SetExperimentFailed", failure_of(siege, "env_one", 0)),
        ("RemoveExperimentData", director_pb2.RemoveExperimentRequest(experiment_name=siege.name)),
        ("GetExperimentData", archive_for(siege, "model/last")),
        ("GetMetricStream", director_pb2.GetMetricStreamRequest(experiment_name=siege.name)),
    ):
        refused = siege.director("env_one", method, request)
        assert refused.code() is DENIED, method
        siege.must_have_logged(f"Refused {method} of envoy 'env_one'{HERE}: ")
    assert "evil" not in list_experiments(connect(siege.lab.settings()))


def test_7_a_users_certificate_is_no_envoys(siege: Siege) -> None:
    shard = director_pb2.ShardInfo(node_info=director_pb2.NodeInfo(name="notebook"))
    for method, request in (
        ("UpdateShardInfo", director_pb2.UpdateShardInfoRequest(shard_info=shard)),
        ("WaitExperiment", director_pb2.WaitExperimentRequest(collaborator_name="env_one")),
        ("GetExperimentData", archive_for(siege, "env_one")),
        ("SetExperimentFailed", failure_of(siege, "env_one", 1)),
    ):
        assert siege.director("notebook", method, request).code() is DENIED, method
    refused = siege.aggregator("notebook", "GetTasks", as_sender("env_one"))
    assert refused.details() == "GetTasks of spiffe://superb-ks/user/notebook: GetTasks is for envoys"


def test_8_another_users_experiment(siege: Siege) -> None:
    """A user may list what is its own, and touch nothing of others."""
    rival = connect(siege.settings_of("rival"))
    assert list_experiments(rival) == {}
    not_its_own = f"experiment '{siege.name}' is not rival's"
    with pytest.raises(FederationError, match=not_its_own):
        attach(rival, siege.name)
    experiment = FederatedExperiment(rival, siege.name)
    with pytest.raises(FederationError, match=f"^not stopped: {not_its_own}$"):
        experiment.stop()
    with pytest.raises(FederationError, match=not_its_own):
        experiment.last_weights()
    client = rival.dir_client
    for call in (
        lambda: client.remove_experiment_data(siege.name),
        lambda: list(client.stream_metrics(siege.name)),
    ):
        assert refusal(call).details() == not_its_own
    assert f"Refused user 'rival': experiment {siege.name!r} belongs to 'notebook'" in siege.lab.log(
        "director"
    )


def test_the_experiment_did_not_feel_it(siege: Siege) -> None:
    siege.gate.touch()
    wait_until(lambda: siege.outcome.status != "", 200)
    outcome = siege.outcome
    assert outcome.status == "finished", outcome.error
    for name in siege.lab.envoy_names:
        assert outcome.rounds("train", name) == list(range(ROUNDS))
    for task in ("dropped", "late", "refused", "returned", "failure"):
        assert not outcome.of(task), outcome.text(task)
    undisturbed = siege.lab.run(rounds=ROUNDS)
    assert np.array_equal(outcome.weights, undisturbed.weights)
    assert "Traceback" not in siege.lab.log("director")
    for name in siege.lab.envoy_names:
        assert "Traceback" not in siege.lab.log(name)


def archive_for(siege: Siege, name: str) -> Any:
    return director_pb2.GetExperimentDataRequest(experiment_name=siege.name, collaborator_name=name)


def failure_of(siege: Siege, name: str, code: int) -> Any:
    return director_pb2.SetExperimentFailedRequest(
        experiment_name=siege.name, collaborator_name=name, error_code=code, error_description="because"
    )
