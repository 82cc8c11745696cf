"""Without TLS, another account of the machine finds no service, is taken for none, and reads no file."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from openfl.protocols import director_pb2, director_pb2_grpc

from demo.process import ServiceProcess, stop_all
from superb_ks.settings import Addresses
from superb_node import local_socket
from superb_node.loopback import ALLOW_PLAINTEXT
from superb_node.work_folder import OF_ONE_NODE
from tests.support.by_tcp import ByTcp
from tests.support.cards import CARD
from tests.support.lab import Lab, at, follow, wait_until
from tests.support.other_account import NOBODY, STRANGER, UID, forget, open_to_all, why_not
from tests.support.sine_experiment import Gate, Script

pytestmark = pytest.mark.federation
as_another_account = pytest.mark.skipif(bool(why_not()), reason=why_not())

# Calls each service by TCP and by its socket, as one who has read the source; prints what came of it.
CALLS = """
import json, sys
import grpc
from openfl.protocols import director_pb2 as messages
director, aggregator, folder, card = sys.argv[1:]
calls = {
    "register": ("UpdateShardInfo", messages.UpdateShardInfoRequest(
        shard_info=messages.ShardInfo(
            node_info={"name": "stranger"}, sample_shape=["16000"], target_shape=["1"],
            shard_description=card)
    )),
    "submit": ("SetNewExperiment", messages.ExperimentInfo(name="stranger")),
    "read": ("GetMetricStream", messages.GetMetricStreamRequest(experiment_name="private")),
    "stop": ("SetExperimentFailed", messages.SetExperimentFailedRequest(experiment_name="private")),
    "task": ("GetTasks", messages.GetEnvoysRequest()),
}
said = {}
for what, (method, request) in calls.items():
    service, port = "director.Director", director
    if what == "task":
        service, port = "aggregator.Aggregator", aggregator
    for address in (f"localhost:{port}", f"127.0.0.1:{port}", f"unix:{folder}/{port}"):
        channel = grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)])
        call = channel.stream_stream(f"/openfl.{service}/{method}")
        try:
            for _ in call(iter([request.SerializeToString()]), timeout=5):
                break
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
        said[f"{what} at {address.partition(':')[0]}"] = code
print(json.dumps(said))
"""


def calls(lab: Lab, *account: str) -> dict[str, str]:
    """Return what comes of calling both services as an account, by default ours."""
    ports = str(lab.director_port), str(lab.aggregator_port)
    folder = str(Path(local_socket.path(1)).parent)
    command = [*account, sys.executable, "-c", CALLS, *ports, folder, CARD]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=180)
    said: dict[str, str] = json.loads(result.stdout)
    return said


def tcp_listeners(lab: Lab) -> set[tuple[str, int]]:
    """Return addresses and ports of TCP on which the federation's processes listen."""
    listening = set()
    for service in lab.processes.values():
        process = psutil.Process(service.pid)
        for each in (process, *process.children(recursive=True)):
            found = each.net_connections("inet")
            listening |= {(one.laddr.ip, one.laddr.port) for one in found if one.status == "LISTEN"}
    return listening


def looked_at(lab: Lab, gate: Path, look: Callable[[], Any]) -> None:
    """Run an experiment that goes on until `look` has been called in it."""

    def look_and_go_on() -> None:
        look()
        gate.touch()

    script = Script(gate=Gate(str(gate), last_round=1))
    outcome = lab.run(script, (at(0, lab.first, "train"), look_and_go_on), rounds=2)
    assert outcome.status == "finished", outcome.error


def test_nothing_listens_on_tcp_and_nothing_is_left(lab: Lab, tmp_path: Path) -> None:
    sockets = [Path(local_socket.path(port)) for port in (lab.director_port, lab.aggregator_port)]
    seen: list[Any] = []
    looked_at(
        lab,
        tmp_path / "gate",
        lambda: seen.append((tcp_listeners(lab), [each.is_socket() for each in sockets])),
    )
    assert seen == [(set(), [True, True])]
    wait_until(lambda: [each.exists() for each in sockets] == [True, False], 10)


@as_another_account
def test_another_account_cannot_call_the_services(lab: Lab, tmp_path: Path) -> None:
    gate = Gate(str(tmp_path / "gate"), last_round=0)
    experiment = lab.submit(Script(gate=gate), name="private", rounds=1)
    # Envoys are invited when the aggregator listens.
    wait_until(lambda: "Experiment private" in lab.log(lab.first), 60)
    theirs, ours = calls(lab, *NOBODY), calls(lab)
    (tmp_path / "gate").touch()
    assert set(theirs.values()) == {"UNAVAILABLE"}, theirs
    # The same calls do arrive where they may.
    ours_by_socket = {what: code for what, code in ours.items() if what.endswith("unix")}
    assert ours_by_socket == {
        "register at unix": "OK",
        "submit at unix": "INVALID_ARGUMENT",
        "read at unix": "INVALID_ARGUMENT",
        "stop at unix": "INVALID_ARGUMENT",
        "task at unix": "UNAUTHENTICATED",
    }
    assert follow(experiment).status == "finished"


@as_another_account
@pytest.mark.parametrize("options", [[], [ALLOW_PLAINTEXT]], ids=["on its socket", "on the port"])
def test_a_director_of_another_account_is_not_obeyed(tmp_path: Path, options: list[str]) -> None:
    """It is there first, and has the port."""
    lab = Lab(tmp_path, envoys=1)
    home = tmp_path / "stranger"
    shutil.copytree(lab._root / "director", home)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", home], check=True)
    open_to_all(tmp_path)
    lab.logs_dir.mkdir()
    variables = {**lab._variables(), "HOME": str(home)}
    command = [*NOBODY, sys.executable, "-m", "superb_node.director", *options]
    director = ServiceProcess("stranger", command, home, variables, lab.logs_dir / "stranger.log")
    try:
        wait_until(lambda: "Director listens on localhost" in director.log_tail(), 60)
        lab.start_envoy(1)
        wait_until(lambda: f"No director at localhost:{lab.director_port} yet" in lab.log("env_one"), 60)
        if not options:  # its folder is there to be seen
            assert ". Other accounts have directors or envoys on this machine: " in lab.log("env_one")
        if options:
            with grpc.insecure_channel(f"localhost:{lab.director_port}") as channel:
                stub = director_pb2_grpc.DirectorStub(channel)
                assert not stub.GetEnvoys(director_pb2.GetEnvoysRequest(), timeout=10).envoy_infos
        # Ours starts on the same port all the same.
        lab.start_director()
        wait_until(lambda: lab.registrations("env_one") == 1, 60)
        assert lab.run(rounds=1).status == "finished"
    finally:
        stop_all([director])
        lab.stop()
        forget()


@as_another_account
def test_another_account_reads_nothing_that_the_services_wrote() -> None:
    # Not below pytest's own folder, which every run of it closes to other accounts.
    with tempfile.TemporaryDirectory(dir="/tmp") as name, Lab(Path(name), envoys=2) as lab:
        os.chmod(name, 0o755)
        gate = Gate(f"{name}/gate", last_round=1)
        experiment = lab.submit(Script(gate=gate), rounds=2)
        wait_until(lambda: f"Experiment {experiment.experiment_name}" in lab.log("env_one"), 60)
        command = [*STRANGER, "find", name, "-type", "f", "-readable"]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        Path(gate.file).touch()
        assert follow(experiment).status == "finished"
        found += subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    assert any(line.endswith("/env_one/start_envoy.sh") for line in found)  # what was copied, it may
    written = [line for line in found if set(OF_ONE_NODE) & set(Path(line).parts)]
    assert not written


class TcpLab(ByTcp, Lab):
    """A `Lab` without TLS on TCP ports."""

    def addresses(self, **changes: Any) -> Addresses:
        return super().addresses(**{"insecure_allow_plaintext_on_network": True, **changes})


def test_tcp_without_tls_is_for_those_who_ask_for_it(tmp_path: Path) -> None:
    """And then on the host of the config only, which is the loopback here."""
    seen: set[tuple[str, int]] = set()
    with TcpLab(tmp_path, envoys=1) as lab:
        looked_at(lab, tmp_path / "gate", lambda: seen.update(tcp_listeners(lab)))
        assert not os.path.exists(local_socket.path(lab.director_port))
    assert {port for _, port in seen} == {lab.director_port, lab.aggregator_port}
    addresses = {ipaddress.ip_address(ip) for ip, _ in seen}
    assert all((getattr(each, "ipv4_mapped", None) or each).is_loopback for each in addresses), seen
