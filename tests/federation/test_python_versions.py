"""Notebook, director and envoys of different Pythons: refused in one line on both sides, unloaded.

Where environments of other Pythons stand next to .venv, as .ci/run makes them, real processes are tried too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from openfl.protocols import director_pb2, director_pb2_grpc

from tests.support import dial
from tests.support.lab import ROOT, Lab

pytestmark = pytest.mark.federation

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
SHARD = director_pb2.UpdateShardInfoRequest(
    shard_info={"node_info": {"name": "elsewhere"}, "sample_shape": ["16000"], "target_shape": ["1"]}
)
NOTEBOOK = """
import sys
from superb_notebook.connect import FederationError, connect, shard_cards
from superb_ks.settings import Addresses, Settings
try:
    shard_cards(connect(Settings(addresses=Addresses(director_port=int(sys.argv[1])))))
except FederationError as error:
    print(error)
"""


def other_pythons() -> list[Path]:
    found = [*ROOT.glob(".venv-*/bin/python"), ROOT / ".venv/bin/python"]
    return [each for each in found if each.exists() and version_of(each) != HERE]


def version_of(python: Path) -> str:
    code = "import sys; print('{0}.{1}'.format(*sys.version_info))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("who", "call"),
    [
        ("envoy 'elsewhere'", lambda stub, told: stub.UpdateShardInfo(SHARD, metadata=told)),
        ("the notebook", lambda stub, told: stub.GetEnvoys(director_pb2.GetEnvoysRequest(), metadata=told)),
        ("the notebook", lambda stub, told: stub.SetNewExperiment(iter(()), metadata=told)),
    ],
    ids=["registration", "list of envoys", "submission"],
)
def test_another_python_is_refused_in_one_line_on_both_sides(
    lab: Lab, who: str, call: Callable[[Any, Any], Any]
) -> None:
    told = (("python-version", "3.9"),)
    logged = lab.log("director").count(f"{who} runs Python 3.9")
    with dial.channel(lab.director_port) as channel, pytest.raises(grpc.RpcError) as refused:
        call(director_pb2_grpc.DirectorStub(channel), told)
    words = refused.value.details()
    assert words.startswith(f"{who} runs Python 3.9 and the director Python {HERE}; ")
    assert "\n" not in words
    assert "elsewhere" not in lab.registered()
    assert lab.log("director").count(f"{who} runs Python 3.9") == logged + 1


@pytest.mark.skipif(
    not other_pythons(),
    reason="no environment of another Python next to .venv (.ci/run makes two: make install VENV=.venv-3.13)",
)
def test_a_real_envoy_and_a_real_notebook_of_another_python_are_refused(lab: Lab) -> None:
    for python in other_pythons():
        theirs = version_of(python)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "PYTHON": str(python),
            "DIRECTOR_PORT": str(lab.director_port),
        }
        envoy = subprocess.run(
            ["bash", "start_envoy.sh", "elsewhere"],
            cwd=lab.nodes_dir / lab.last,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert envoy.returncode == 2, envoy.stderr  # systemd does not start it again
        assert f"envoy 'elsewhere' runs Python {theirs} and the director Python {HERE}" in envoy.stderr
        assert "Traceback" not in envoy.stderr
        notebook = subprocess.run(
            [python, "-c", NOTEBOOK, str(lab.director_port)],
            cwd=ROOT / "workspace",
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert f"the notebook runs Python {theirs} and the director Python {HERE}" in notebook.stdout
