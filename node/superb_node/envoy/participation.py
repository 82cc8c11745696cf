"""One experiment in an envoy: its collaborator, and what the director is told when it fails."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import grpc
import yaml
from openfl.federated import Plan

from superb_node.command_line import legal_port
from superb_node.reports import LEFT, TASK_RAISED

PLAN = Path("plan/plan.yaml")


def run_collaborator(
    name: str,
    network: dict[str, Any],
    certificates: tuple[Any, Any, Any],
    shard_descriptor: Any,
    cuda_devices: Any,
) -> None:
    """Take part in the experiment that is unpacked in the working directory.

    Corrects: where the aggregator is, and whether TLS guards the way there, was up to the experiment's plan.
    It runs in the director's process, so it is where this envoy knows the director to be.

    Args:
        name: the envoy's.
        network: settings that the plan's own give way to.
        certificates: files of the authority's certificate, our key, our certificate; None without TLS.
        shard_descriptor: gives the data.
        cuda_devices: numbers of those that may be used.
    """
    plan = Plan.parse(PLAN)
    plan.config["network"]["settings"].update(network)
    collaborator = plan.get_collaborator(name, *certificates, shard_descriptor=shard_descriptor)
    collaborator.set_available_devices(cuda=cuda_devices)
    collaborator.run()


def needs_of(folder: Path) -> tuple[int, str]:
    """Return the port of the aggregator, and the name of the model, of an experiment that is unpacked.

    Raises:
        ValueError: its plan does not tell them.
    """
    plan = yaml.safe_load((folder / PLAN).read_bytes())
    try:
        port, model = plan["network"]["settings"]["agg_port"], plan["submission"]["settings"].get("model", "")
        return legal_port(port), str(model)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the experiment's plan, {PLAN}, lacks {error}") from error


def failure_report(error: BaseException) -> tuple[int, str]:
    """Return the code and the text with which the director is told of a failure."""
    if lost_the_aggregator(error):
        # Corrects: a link that broke counts as a task that raised, which ends the experiment for all. The
        # others go on, and this envoy is invited again as long as there is work for it.
        return LEFT, f"lost the way to the aggregator: {error}"
    if isinstance(error, Exception):
        return TASK_RAISED, "".join(traceback.format_exception(error))
    return LEFT, f"stopped by its owner ({error})"


def lost_the_aggregator(error: BaseException) -> bool:
    """Return whether an experiment ended here because the link to its aggregator broke.

    The experiment's own code raises the error; it says so by the attribute `was_reached`.
    """
    return bool(getattr(error, "was_reached", False))


def one_line(error: BaseException) -> str:
    """Return one line about an error; gRPC's own text has many."""
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
