"""An envoy waits for its owner's answer, as long as the experiment runs elsewhere."""

from __future__ import annotations

import time
from typing import Any

import grpc
from openfl.protocols import director_pb2

from superb_node.approval.gate import POLL_SECONDS, Gate
from superb_node.approval.store import Submission
from superb_node.envoy.download import Download
from superb_node.reports import ID_HEADER, STILL_RUNS_HEADER

ASK_SECONDS, ANSWER_TIMEOUT_SECONDS = 1.0, 10.0
"""How often the director is asked whether an experiment still runs, and how long it has for its answer."""


def wait_for_approval(
    gate: Gate, submission: Submission, download: Download, director: Any, envoy_name: str
) -> bool:
    """Return once the owner approves (True), or the experiment is over (False).

    Args:
        gate: of the owner.
        submission: waits.
        download: what is shown to the owner.
        director: the stub of its service.
        envoy_name: on whose behalf it is asked.

    Raises:
        Declined: the owner rejects, or does not answer in time.
    """
    ask_at = time.monotonic() + ASK_SECONDS
    with gate.pending(submission, download.text) as approved:
        gate.show(submission)
        while not approved():
            if time.monotonic() > ask_at:
                if not still_runs(download, director, envoy_name):
                    return False
                ask_at = time.monotonic() + ASK_SECONDS
            time.sleep(POLL_SECONDS)
    return True


def still_runs(download: Download, director: Any, envoy_name: str) -> bool:
    """Ask the director whether an experiment still has work for this envoy; it answers at once."""
    request = director_pb2.WaitExperimentRequest(collaborator_name=envoy_name)
    about = ((STILL_RUNS_HEADER, download.name), (ID_HEADER, download.id))
    try:
        answer = director.WaitExperiment(request, timeout=ANSWER_TIMEOUT_SECONDS, metadata=about)
    except grpc.RpcError:
        return True  # a director that is away may come back with the experiment
    return bool(answer.experiment_name == download.name)
